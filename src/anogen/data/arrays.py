"""Arrays in files: `.npy`, `.npz` and the IDX files of MNIST."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.idx import MAX_DEFLATE_RATIO, is_idx, read_idx
from anogen.data.images import Images, images_from_array, label, with_captions
from anogen.data.pictures import check_regular
from anogen.data.splits import Splits, split
from anogen.errors import DataError, first_line

SHEETS = {".xlsx", ".xls", ".ods"}
PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}


def load_arrays(path: Path, **splitting: Any) -> Splits:
    """The splits of a `.npy`, `.npz` or IDX file.

    Args:
        path: of the file.
        splitting: as for `split`.

    Raises:
        DataError: not such a file, or a damaged one.
    """
    check_regular(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _load_npz(path, splitting)
    if suffix == ".npy":
        return split(images_from_array(_open_npy(path), path.stem), **splitting)
    if is_idx(path):
        return split(read_idx_images(path), **splitting)
    if suffix in PICKLE_SUFFIXES:
        raise DataError(f"{path}: pickles can run code and are never opened; save as .npy instead")
    if suffix in SHEETS:
        raise DataError(f"{path}: a spreadsheet; save it as .csv or .parquet")
    raise DataError(f"{path}: not a folder, .npy, .npz or IDX file")


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


def _load_npz(path: Path, splitting: dict[str, Any]) -> Splits:
    """An archive of `x_train`, `y_train`, `x_test`, `y_test`; of `images` and, if they are there,
    `labels` and `captions`; or of one array.
    """
    with _Archive(path) as archive:
        if "x_train" in archive.names:
            wanted = [f"{kind}_{part}" for kind in "xy" for part in ("train", "test")]
            arrays = {name: archive.read(name) for name in wanted if name in archive.names}
            return _keras_splits(arrays, path.stem, splitting)
        key = archive.names[0] if len(archive.names) == 1 else "images"
        if key not in archive.names:
            names = ", ".join(archive.names) or "nothing"
            raise DataError(f"{path}: expected x_train/x_test or images, found {names}")
        labels = archive.read("labels") if "labels" in archive.names else None
        images = images_from_array(archive.read(key), path.stem, labels)
        if "captions" in archive.names:
            images = with_captions(images, archive.read("captions").tolist())
        return split(images, **splitting)


def _keras_splits(arrays: dict[str, NDArray[Any]], name: str, splitting: dict[str, Any]) -> Splits:
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
    return split(images[0], images[1] if len(images) > 1 else None, **splitting)


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
