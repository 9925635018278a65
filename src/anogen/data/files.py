"""Image files of the user's own: a folder of pictures, NumPy arrays, raw IDX files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anogen.data.idx import is_idx, read_idx
from anogen.data.images import Images, Pixels, Splits, images_from_array, label, split
from anogen.errors import DataError, UsageError, unknown_name
from anogen.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["stretch", "crop"]

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}
PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
MAX_PICTURE_PIXELS = 50_000_000
"""A larger picture is refused from its header, before a byte of it is decoded."""


def load_path(
    path: Path,
    image_size: int | None = None,
    resize: Resize = "stretch",
    channels: int | None = None,
) -> Splits:
    """Splits of whatever images lie at a path.

    Args:
        path: a folder of PNG/JPEG pictures (sub-folders are labels; sub-folders named `train` and
            `test` are those splits), a folder of IDX files named as MNIST's are, or one `.npy`,
            `.npz` or IDX file.
        image_size: height and width to bring pictures to; None keeps theirs.
        resize: `"stretch"` ignores the aspect ratio, `"crop"` keeps the centre.
        channels: 1 for grey, 3 for RGB; None keeps grey where every picture is grey.

    Raises:
        DataError: nothing usable is there; the message says what is wrong with which file.
    """
    if resize not in get_args(Resize):
        raise unknown_name("resize", resize, get_args(Resize))
    if image_size is not None and image_size < 1:
        raise UsageError(f"image_size must be positive, found {image_size}")
    if path.is_dir():
        return _load_folder(path, image_size, resize, channels)
    if image_size is not None or channels is not None:
        raise UsageError(f"{path}: image_size and channels apply to folders of pictures only")
    if path.suffix == ".npz":
        return _load_npz(path)
    if path.suffix == ".npy":
        return split(images_from_array(_open_npy(path), path.stem))
    if is_idx(path):
        return split(read_idx_images(path))
    if path.suffix in PICKLE_SUFFIXES:
        raise DataError(f"{path}: pickles can run code and are never opened; save as .npy instead")
    raise DataError(f"{path}: not a folder, .npy, .npz or IDX file")


def read_idx_images(path: Path, name: str | None = None, classes: tuple[str, ...] = ()) -> Images:
    """Images of an IDX file, with the labels of the file beside it, if there is one.

    `train-images-idx3-ubyte.gz` finds `train-labels-idx1-ubyte.gz`.
    """
    pixels = read_idx(path)
    if pixels.ndim != 3:
        raise DataError(f"{path}: holds labels, not images; name the images' file")
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = None
    if beside != path and beside.exists():
        labels = read_idx(beside).astype(np.int64)
        if labels.shape != (len(pixels),):
            raise DataError(f"{beside}: {labels.size} labels for {len(pixels)} images in {path}")
        top = int(labels.max(initial=0)) + 1
        classes = classes or tuple(str(label) for label in range(top))
        if top > len(classes):
            raise DataError(f"{beside}: label {top - 1}, but there are only {len(classes)} classes")
    return Images(pixels[:, None], name or path.stem, labels, classes if labels is not None else ())


def resize_pictures(pixels: Pixels, size: int) -> Pixels:
    """uint8 `[n, h, w]` brought to `[n, size, size]`, bicubic."""
    from PIL import Image

    scaled = (Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
              for picture in pixels)  # fmt: skip
    return np.stack([np.asarray(picture) for picture in scaled])


def _load_folder(
    folder: Path, image_size: int | None, resize: Resize, channels: int | None
) -> Splits:
    idx = {kind: _idx_images_in(folder, kind) for kind in ("train", "t10k")}
    if idx["train"] is not None:
        test = idx["t10k"] and read_idx_images(idx["t10k"], folder.name)
        return split(read_idx_images(idx["train"], folder.name), test)
    if all(pictures_in(folder / part) for part in ("train", "test")):
        train, test = (
            _read_pictures(folder / part, folder.name, image_size, resize, channels)
            for part in ("train", "test")
        )
        if train.classes != test.classes:
            raise DataError(
                f"{folder}: train has the labels {', '.join(train.classes) or 'none'}, "
                f"test {', '.join(test.classes) or 'none'}; make them the same"
            )
        return split(train, test)
    return split(_read_pictures(folder, folder.name, image_size, resize, channels))


def _idx_images_in(folder: Path, kind: str) -> Path | None:
    names = (f"{kind}-images-idx3-ubyte{ending}" for ending in (".gz", ""))
    return next((folder / name for name in names if (folder / name).exists()), None)


def pictures_in(folder: Path) -> list[Path]:
    """Every PNG and JPEG below a folder, in the order of their names, hidden ones left out."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    return sorted(path for path in files if not path.name.startswith("."))


def _read_pictures(
    folder: Path, name: str, image_size: int | None, resize: Resize, channels: int | None
) -> Images:
    files = pictures_in(folder)
    if not files:
        raise DataError(f"{folder}: no PNG or JPEG picture in it")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels must be 1 (grey) or 3 (RGB), found {channels}")
    pictures: list[NDArray[np.uint8]] = []
    with Progress(f"reading {name}", len(files), "pictures") as bar:
        for path in files:
            pictures.append(read_picture(path, image_size, resize, channels))
            if pictures[-1].shape[:2] != pictures[0].shape[:2]:
                raise DataError(
                    f"{path}: {_size(pictures[-1])} pixels, but {files[0]} has "
                    f"{_size(pictures[0])}; set image_size (and resize) to bring all to one size"
                )
            bar.advance(1)
    if len({picture.shape[2] for picture in pictures}) > 1:
        pictures = [np.broadcast_to(picture, (*picture.shape[:2], 3)) for picture in pictures]
    pixels = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    folders = [path.relative_to(folder).parts[0] for path in files if path.parent != folder]
    if len(folders) < len(files):
        return Images(pixels, name)
    classes, labels = np.unique(folders, return_inverse=True)
    return Images(pixels, name, labels.astype(np.int64), tuple(map(str, classes)))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}×{picture.shape[0]}"


def read_picture(
    path: Path, image_size: int | None, resize: Resize, channels: int | None
) -> NDArray[np.uint8]:
    """One picture as uint8 `[h, w, c]`, refused from its header where it is too large.

    Raises:
        DataError: it is damaged, too large, or no PNG or JPEG.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS, limit = None, Image.MAX_IMAGE_PIXELS  # our own limit, below
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise DataError(
                    f"{path}: {picture.width}×{picture.height} pixels; pictures over "
                    f"{MAX_PICTURE_PIXELS // 1_000_000} megapixels are refused, make it smaller"
                )
            picture = _to_8_bit(ImageOps.exif_transpose(picture))
            grey = channels == 1 or (channels is None and picture.mode in ("1", "L", "LA"))
            image = picture.convert("L" if grey else "RGB")
            if image_size is not None:
                size = (image_size, image_size)
                image = ImageOps.fit(image, size) if resize == "crop" else image.resize(size)
            array = np.asarray(image)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a PNG or JPEG picture, or a damaged one") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged picture ({error})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return array[:, :, None] if array.ndim == 2 else array


def _to_8_bit(picture: "Image.Image") -> "Image.Image":
    """16-bit grey pictures by their upper byte; Pillow's own conversion would clip them."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))


def _open_npy(path: Path) -> NDArray[Any]:
    """The array, mapped from the file; object arrays are pickles and are refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy array ({error})") from error


def open_array(path: Path) -> NDArray[Any]:
    """The images of a `.npy` (mapped from the file), `.npz` or IDX file, in whatever layout.

    Raises:
        DataError: not such a file, or a damaged one.
    """
    if path.suffix == ".npy":
        return _open_npy(path)
    if path.suffix == ".npz":
        arrays = _open_npz(path)
        names = [name for name in ("images", "x_test") if name in arrays] or list(arrays)
        if not names:
            raise DataError(f"{path}: there is no array in it")
        return arrays[names[0]]
    if path.is_file() and is_idx(path):
        return read_idx(path)
    raise DataError(f"{path}: not a picture, a folder, or a .npy, .npz or IDX file")


def _open_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged archive
        raise DataError(f"{path}: not a readable .npz archive ({error})") from error


def _load_npz(path: Path) -> Splits:
    """An archive of `x_train`, `y_train`, `x_test`, `y_test`; `images`, `labels`; or one array."""
    arrays = _open_npz(path)
    if "x_train" in arrays:
        return _keras_splits(arrays, path.stem)
    key = next(iter(arrays)) if len(arrays) == 1 else "images"
    if key not in arrays:
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{path}: expected x_train/x_test or images, found {found}")
    return split(images_from_array(arrays[key], path.stem, arrays.get("labels")))


def _keras_splits(arrays: dict[str, NDArray[Any]], name: str) -> Splits:
    """`x_train` and, where they are there, `x_test` and the labels, numbered alike in both."""
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    images = [images_from_array(arrays[f"x_{part}"], name) for part in parts]
    if all(f"y_{part}" in arrays for part in parts):
        labels = [arrays[f"y_{part}"].ravel() for part in parts]
        classes = np.unique(np.concatenate(labels))
        images = [label(*pair, classes) for pair in zip(images, labels, strict=True)]
    return split(images[0], images[1] if len(images) > 1 else None)
