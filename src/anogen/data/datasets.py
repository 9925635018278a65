"""Every data set that has a name: what it is, and where its files are published."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anogen.data.arrays import read_idx_images
from anogen.data.images import Images, Pixels
from anogen.data.pictures import check_regular
from anogen.data.scenes import scenes_of
from anogen.data.shapes import draw_shapes
from anogen.errors import DataError, first_line

Read = Callable[[list[Path], str, tuple[str, ...]], tuple[Images, Images]]
"""The files of a data set in the order of their MD5 sums, its name and classes → the images to
train on, and test images."""


def _idx(files: list[Path], name: str, classes: tuple[str, ...]) -> tuple[Images, Images]:
    """Images and labels to train on, and to test on, in IDX files."""
    return read_idx_images(files[0], name, classes), read_idx_images(files[2], name, classes)


def _rows_of_text(files: list[Path], name: str, classes: tuple[str, ...]) -> tuple[Images, Images]:
    """Square pictures, one in each line: its label, then its values from −1 (black) to 1."""
    return _of_text(files[0], name, classes), _of_text(files[1], name, classes)


def _of_text(path: Path, name: str, classes: tuple[str, ...]) -> Images:
    check_regular(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii") as file:
            rows = np.loadtxt(file, np.float32, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error
    size = round((rows.shape[1] - 1) ** 0.5)
    if rows.shape[1] != size**2 + 1 or not np.isfinite(rows).all():
        raise DataError(f"{path}: its lines are not a label and the values of a square picture")
    pixels = np.clip(np.rint((rows[:, 1:] + 1) * 127.5), 0, 255).astype(np.uint8)
    labels = rows[:, 0].astype(np.int64)
    return Images(pixels.reshape(-1, 1, size, size), name, labels, classes)


@dataclass(frozen=True)
class Published:
    """A published data set in files: of images, or one table.

    Attributes:
        title: one line for the list.
        mirrors: addresses of folders that hold the files, tried in order.
        md5: file name → canonical MD5 sum.
        classes: the names of the labels of images, in order.
        label_column: of a table, the column that says which rows are anomalies.
        read: how its files become images.
    """

    title: str
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    classes: tuple[str, ...] = ()
    label_column: str | None = None
    read: Read = _idx


@dataclass(frozen=True)
class Bundled:
    """A data set that needs no files.

    Attributes:
        title: one line for the list.
        load: gives the images to train on, and test images, if they are others.
    """

    title: str
    load: Callable[[], tuple[Images, Images | None]]


@dataclass(frozen=True)
class Drawn:
    """A data set that is drawn from another one.

    Attributes:
        title: one line for the list.
        of: the name of the other one.
        draw: its training and test images → those of this data set.
    """

    title: str
    of: str
    draw: Callable[[Images, Images], tuple[Images, Images]]


def _digits() -> tuple[Images, None]:
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    enlarged = _enlarged(pixels, 28)[:, None]
    labels = np.asarray(labels, np.int64)
    return Images(enlarged, "digits", labels, tuple("0123456789")), None


def _enlarged(pixels: Pixels, size: int) -> Pixels:
    """uint8 `[n, h, w]` brought to `[n, size, size]`, bicubic."""
    from PIL import Image

    scaled = (Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
              for picture in pixels)  # fmt: skip
    return np.stack([np.asarray(picture) for picture in scaled])


def _shapes() -> tuple[Images, Images]:
    return draw_shapes(20_000, seed=0)[0], draw_shapes(5_000, seed=1)[0]


MNIST = Published(
    "handwritten digits, 60,000 + 10,000 of 28×28 (Deng 2012)",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    tuple("0123456789"),
)
FASHION_MNIST = Published(
    "clothing, 60,000 + 10,000 of 28×28 (Xiao et al. 2017)",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    ("T-shirt/top", "trouser", "pullover", "dress", "coat",
     "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)  # fmt: skip
USPS = Published(
    "handwritten digits, 7,291 + 2,007 of 16×16 (Le Cun et al. 1990; Hastie et al. 2009)",
    ("https://hastie.su.domains/ElemStatLearn/datasets/",),
    {
        "zip.train.gz": "206835541ea704bcfb4b6eea872678bf",
        "zip.test.gz": "f9350e940232b89f1dc8f8eacac88625",
    },
    tuple("0123456789"),
    read=_rows_of_text,
)
CREDIT_CARD = Published(
    "card payments of two days, 284,807 rows, 492 of them frauds (Dal Pozzolo et al. 2015)",
    (
        "https://storage.googleapis.com/download.tensorflow.org/data/",
        "https://zenodo.org/records/7395559/files/",
    ),
    {"creditcard.csv": "e90efcb83d69faf99fcab8b0255024de"},
    label_column="Class",
)

DATASETS: dict[str, Published | Bundled | Drawn] = {
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "usps": USPS,
    "digits": Bundled("handwritten digits of scikit-learn, 8×8 scaled to 28×28", _digits),
    "creditcard": CREDIT_CARD,
    "shapes": Bundled("coloured shapes of known factors, 20,000 + 5,000 of 32×32", _shapes),
    "digits-scenes": Drawn(
        "one to three digits of scikit-learn in colour, with captions, 20,000 + 2,000 of 48×48",
        "digits",
        partial(scenes_of, counts=(20_000, 2_000), name="digits-scenes"),
    ),
    "mnist-scenes": Drawn(
        "one to three handwritten digits in colour, with captions, 30,000 + 2,000 of 48×48",
        "mnist",
        partial(scenes_of, counts=(30_000, 2_000), name="mnist-scenes"),
    ),
}
"""Every data set that has a name. `auto` stands for MNIST where it can be had, else digits."""
