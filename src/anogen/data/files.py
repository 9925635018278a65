"""Image files of the user's own: a folder of pictures, NumPy arrays, raw IDX files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.idx import MAX_DEFLATE_RATIO, is_idx, read_idx
from anogen.data.images import Images, Pixels, Splits, images_from_array, label, split
from anogen.data.pictures import Background, Pictures, Resize, Walk, check_regular, walk
from anogen.errors import DataError, UsageError, first_line
from anogen.progress import Progress, say

PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
VALIDATION_NAMES = ("val", "valid", "validation")


GOOD = "good"
"""What MVTec AD's layout calls pictures without a defect."""


def load_path(
    path: Path,
    image_size: int | None = None,
    resize: Resize = "stretch",
    channels: int | None = None,
    background: Background = "white",
    bits: int | None = None,
) -> Splits:
    """Splits of whatever images lie at a path.

    Args:
        path: a folder of pictures (sub-folders are labels; sub-folders named `train`, `val` and
            `test` are those splits, also in MVTec AD's layout), a folder of IDX files named as
            MNIST's are, or one `.npy`, `.npz` or IDX file.
        image_size: as in `Pictures`, for pictures only.
        resize: likewise.
        channels: likewise.
        background: likewise.
        bits: likewise.

    Raises:
        DataError: nothing usable is there; the message says what is wrong with which file.
    """
    pictures = Pictures(image_size, resize, channels, background, bits)
    if is_folder(path):
        return _load_folder(path, pictures)
    if pictures != Pictures(resize=resize):
        raise UsageError(
            f"{path}: image_size, channels, background and bits apply to folders of pictures only"
        )
    check_regular(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _load_npz(path)
    if suffix == ".npy":
        return split(images_from_array(_open_npy(path), path.stem))
    if is_idx(path):
        return split(read_idx_images(path))
    if suffix in PICKLE_SUFFIXES:
        raise DataError(f"{path}: pickles can run code and are never opened; save as .npy instead")
    raise DataError(f"{path}: not a folder, .npy, .npz or IDX file")


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path.

    Raises:
        DataError: nobody can tell, as where the name is too long or a folder above is closed.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


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


def _load_folder(folder: Path, pictures: Pictures) -> Splits:
    idx = {kind: _idx_images_in(folder, kind) for kind in ("train", "t10k")}
    if idx["train"] is not None:
        test = idx["t10k"] and read_idx_images(idx["t10k"], folder.name)
        return split(read_idx_images(idx["train"], folder.name), test)
    defects = _kinds_of_defects(folder)
    if defects:
        say(
            f"{folder}: MVTec AD's layout: train/{GOOD} is learnt, test/{GOOD} tests it; each kind "
            f"of defect is a set of its own, such as {folder / 'test' / defects[0]}"
        )
        train, test = (
            _read_pictures(walk(folder / part / GOOD), folder.name, pictures)
            for part in ("train", "test")
        )
        return split(train, test)
    parts = _parts(folder)
    if "train" not in parts or len(parts) < 2:
        _warn_of_split_names(folder)
        return split(_read_pictures(walk(folder), folder.name, pictures))
    images = {name: _read_pictures(found, folder.name, pictures) for name, found in parts.items()}
    first = images["train"]
    for name, other in images.items():
        if other.classes != first.classes:
            raise DataError(
                f"{folder}: train has the labels {', '.join(first.classes) or 'none'}, "
                f"{name} {', '.join(other.classes) or 'none'}; make them the same"
            )
        if other.shape != first.shape:
            raise DataError(f"{folder}: {name} images are {other.shape}, others {first.shape}")
    if "validation" in images and "test" in images:
        return Splits(first, images["validation"], images["test"])
    if "validation" in images:
        say(f"{folder}: there is no test folder; val serves as test, and validation images are "
            "held out of train")  # fmt: skip
    return split(first, images.get("test") or images["validation"])


def _kinds_of_defects(folder: Path) -> list[str]:
    """The sub-folders of `test` beside `good`, where `train` has `good` alone; else none."""
    inside = {
        part: sorted(p.name for p in (folder / part).iterdir() if p.is_dir() and p.name[0] != ".")
        for part in ("train", "test")
        if (folder / part).is_dir()
    }
    if inside.get("train") != [GOOD] or GOOD not in inside.get("test", []):
        return []
    return [name for name in inside["test"] if name != GOOD]


def _parts(folder: Path) -> dict[str, Walk]:
    """The sub-folders train, validation and test of a folder, as far as they hold pictures."""
    named = {"train": "train", "test": "test", **dict.fromkeys(VALIDATION_NAMES, "validation")}
    found: dict[str, Walk] = {}
    for name, part in named.items():
        inside = walk(folder / name) if (folder / name).is_dir() else None
        if inside is None or not inside.files:
            continue
        if part in found:
            raise DataError(
                f"{folder}: {found[part].folder.name} and {name} both hold pictures; make them one"
            )
        found[part] = inside
    return found


def _warn_of_split_names(folder: Path) -> None:
    """Say so where sub-folders that are called like splits are taken for labels."""
    like = [p.name for p in sorted(folder.iterdir())
            if p.name.lower() in ("train", "test", *VALIDATION_NAMES) and p.is_dir()]  # fmt: skip
    if like:
        say(
            f"warning: {folder}: {', '.join(like)} would be splits, but there is no train beside a "
            "test or val folder (in small letters), so that sub-folders are labels"
        )


def _idx_images_in(folder: Path, kind: str) -> Path | None:
    names = (f"{kind}-images-idx3-ubyte{ending}" for ending in (".gz", ""))
    return next((folder / name for name in names if (folder / name).exists()), None)


def _read_pictures(found: Walk, name: str, pictures: Pictures) -> Images:
    folder = found.folder
    found.say_left_out()
    if not found.files:
        raise DataError(f"{folder}: no PNG or JPEG picture in it, nor BMP, TIFF or WebP")
    arrays: list[NDArray[np.uint8]] = []
    with Progress(f"reading {name}", len(found.files), "pictures") as bar:
        for path in found.files:
            arrays.append(pictures.read(path))
            if arrays[-1].shape[:2] != arrays[0].shape[:2]:
                raise DataError(
                    f"{path}: {_size(arrays[-1])} pixels, but {found.files[0]} has "
                    f"{_size(arrays[0])}; set image_size (and resize) to bring all to one size"
                )
            bar.advance(1)
    pictures.warn_of_unused_bits(str(folder))
    if len({array.shape[2] for array in arrays}) > 1:
        arrays = [np.broadcast_to(array, (*array.shape[:2], 3)) for array in arrays]
    pixels = np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2))
    folders = [path.relative_to(folder).parts[0] for path in found.files if path.parent != folder]
    if len(folders) < len(found.files):
        if folders:
            say(f"{folder}: {len(found.files) - len(folders)} of {len(found.files)} pictures lie "
                "in no sub-folder, so that sub-folders are not taken for labels")  # fmt: skip
        return Images(pixels, name)
    classes, labels = np.unique(folders, return_inverse=True)
    return Images(pixels, name, labels.astype(np.int64), tuple(map(str, classes)))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}×{picture.shape[0]}"


def read_picture(
    path: Path, image_size: int | None, resize: Resize, channels: int | None
) -> NDArray[np.uint8]:
    """One picture as uint8 `[h, w, c]`; see `Pictures`, which also says how to read many."""
    pictures = Pictures(image_size, resize, channels)
    pixels = pictures.read(path)
    pictures.warn_of_unused_bits(str(path))
    return pixels


def _open_npy(path: Path) -> NDArray[Any]:
    """The array, mapped from the file; object arrays are pickles and are refused."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise many kinds
        raise DataError(f"{path}: not a readable .npy array ({first_line(error)})") from error
    return _sound(array, str(path))


def _sound(array: Any, name: str) -> NDArray[Any]:
    """What was read, if it is an array of something."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name}: holds no array")
    if not array.dtype.itemsize or array.dtype.hasobject or min(array.shape, default=0) < 0:
        raise DataError(f"{name}: an array of {array.dtype} {list(array.shape)} holds no numbers")
    return array


def open_array(path: Path) -> NDArray[Any]:
    """The images of a `.npy` (mapped from the file), `.npz` or IDX file, in whatever layout.

    Raises:
        DataError: not such a file, or a damaged one.
    """
    check_regular(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _open_npy(path)
    if suffix == ".npz":
        with _Archive(path) as archive:
            names = [name for name in ("images", "x_test") if name in archive.names]
            names += archive.names
            if not names:
                raise DataError(f"{path}: there is no array in it")
            return archive.read(names[0])
    if is_idx(path):
        return read_idx(path)
    raise DataError(f"{path}: not a picture, a folder, or a .npy, .npz or IDX file")


class _Archive:
    """The arrays of a `.npz` file, each read when it is asked for, within bounds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            self._archive: Any = np.load(self._file, allow_pickle=False)
            self.names: list[str] = list(self._archive.files)
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged archive
            self._file.close()
            raise self._damaged(error) from error

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._file.close()

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            DataError: it is damaged, no array, or larger than this machine's memory.
        """
        try:
            self._refuse_bomb(name)
            return _sound(self._archive[name], f"{self._path}, {name}")
        except DataError:
            raise
        except Exception as error:
            raise self._damaged(error) from error

    def _refuse_bomb(self, name: str) -> None:
        members = {member.filename: member for member in self._archive.zip.infolist()}
        member = members.get(name) or members[f"{name}.npy"]  # as NumPy looks for it
        if member.file_size > member.compress_size * MAX_DEFLATE_RATIO + 1024:
            raise DataError(f"{self._path}: {name} claims {member.file_size:,} bytes, which what "
                            "is there cannot hold")  # fmt: skip
        if member.file_size > _memory_bytes():
            raise DataError(
                f"{self._path}: {name} has {member.file_size:,} bytes, more than this machine's "
                "memory; save it as .npy, which is read in parts"
            )

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self._path}: not a readable .npz archive ({first_line(error)})")


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 1 << 34


def _load_npz(path: Path) -> Splits:
    """An archive of `x_train`, `y_train`, `x_test`, `y_test`; `images`, `labels`; or one array."""
    with _Archive(path) as archive:
        if "x_train" in archive.names:
            wanted = [f"{kind}_{part}" for kind in "xy" for part in ("train", "test")]
            arrays = {name: archive.read(name) for name in wanted if name in archive.names}
            return _keras_splits(arrays, path.stem)
        key = archive.names[0] if len(archive.names) == 1 else "images"
        if key not in archive.names:
            found = ", ".join(archive.names) or "nothing"
            raise DataError(f"{path}: expected x_train/x_test or images, found {found}")
        labels = archive.read("labels") if "labels" in archive.names else None
        return split(images_from_array(archive.read(key), path.stem, labels))


def _keras_splits(arrays: dict[str, NDArray[Any]], name: str) -> Splits:
    """`x_train` and, where they are there, `x_test` and the labels, numbered alike in both."""
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    images = [images_from_array(arrays[f"x_{part}"], name) for part in parts]
    if all(f"y_{part}" in arrays for part in parts):
        for part in parts:
            if arrays[f"y_{part}"].dtype.kind not in "biuUS":
                raise DataError(f"{name}: y_{part} holds {arrays[f'y_{part}'].dtype}, not labels")
        labels = [arrays[f"y_{part}"].ravel() for part in parts]
        classes = np.unique(np.concatenate(labels))
        images = [label(*pair, classes) for pair in zip(images, labels, strict=True)]
    return split(images[0], images[1] if len(images) > 1 else None)
