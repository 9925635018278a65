"""Image files of the user's own: a folder of pictures, NumPy arrays, raw IDX files."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anogen.data.arrays import load_arrays, read_idx_images
from anogen.data.decoding import decoded
from anogen.data.domains import paired_up
from anogen.data.images import Images, with_captions
from anogen.data.layouts import Listing, lay_out
from anogen.data.pairs import numbered, refuse_parted, things_of
from anogen.data.pictures import Pictures
from anogen.data.splits import Splits, split
from anogen.data.table_files import TableOptions, load_table
from anogen.data.tables import TABLE_SUFFIXES
from anogen.errors import DataError, UsageError, first_line
from anogen.progress import say

ENDLESS = re.compile(r"\([^()]*[+*}|][^()]*\)[+*{]")
"""Regular expressions that may take exponential time; one may come with somebody else's run."""


def load_path(
    path: Path,
    pictures: Pictures | None = None,
    group: str | None = None,
    table: TableOptions | None = None,
    pairs: str | None = None,
    **splitting: Any,
) -> Splits:
    """Splits of whatever images or rows lie at a path.

    Args:
        path: a folder of pictures in one of `LAYOUTS`, a folder of IDX files named as MNIST's are,
            or one `.npy`, `.npz`, IDX, CSV, TSV or parquet file.
        pictures: how pictures are read; for these only.
        group: as in `load_data`, for pictures only.
        table: how tables are read; for these only.
        pairs: as in `load_data`, for pictures only.
        splitting: as for `split`.

    Raises:
        DataError: nothing usable is there; the message says what is wrong with which file.
        UsageError: options for pictures where there are none.
    """
    is_table = path.suffix.lower() in TABLE_SUFFIXES and not is_folder(path)
    if table not in (None, TableOptions()) and not is_table:
        raise UsageError(
            f"{path}: label_column, normal_label, columns and encoding apply to tables only"
        )
    if holds_pictures(path):
        return _load_pictures(path, pictures or Pictures(), group, pairs, splitting)
    plain = pictures is None or pictures == Pictures(resize=pictures.resize)
    if not plain or group is not None or pairs is not None:
        raise UsageError(
            f"{path}: image_size, channels, background, bits, group and pairs apply to folders of "
            "pictures only"
        )
    if is_table:
        return load_table(path, table, **splitting)
    if not is_folder(path):
        return load_arrays(path, **splitting)
    train, test = (_idx_images_in(path, kind) for kind in ("train", "t10k"))
    assert train is not None
    return split(
        read_idx_images(train, path.name), test and read_idx_images(test, path.name), **splitting
    )


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path.

    Raises:
        DataError: nobody can tell, as where the name is too long or a folder above is closed.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def holds_pictures(path: Path) -> bool:
    """Whether a path is a folder of pictures, not of IDX files."""
    return is_folder(path) and not _idx_images_in(path, "train")


def _idx_images_in(folder: Path, kind: str) -> Path | None:
    names = (f"{kind}-images-idx3-ubyte{ending}" for ending in (".gz", ""))
    return next((folder / name for name in names if (folder / name).exists()), None)


def _load_pictures(
    folder: Path,
    pictures: Pictures,
    group: str | None,
    pairs: str | None,
    splitting: dict[str, Any],
) -> Splits:
    parts = lay_out(folder).parts
    if "all" in parts:
        parts = {"train": parts["all"]}
    groups = (
        {} if group is None else {part: _groups(listing, group) for part, listing in parts.items()}
    )
    split_by = groups
    images = {part: _read(listing, folder.name, pictures) for part, listing in parts.items()}
    _refuse_differences(folder, images)
    if pairs is not None:
        things = {part: things_of(listing, pairs) for part, listing in parts.items()}
        split_by = groups or things
        refuse_parted(folder, things, split_by)
        numbers = numbered(things)
        images = {part: replace(images[part], things=numbers[part]) for part in images}
    test = images.get("test") or images.get("validation")
    if "test" in images and "validation" in images:
        splits = Splits(images["train"], images["validation"], images["test"])
    else:
        splits = split(images["train"], test, groups=split_by.get("train"), **splitting)
    if groups:
        _warn_of_shared_groups(folder, groups)
    train, validation, test = map(paired_up, (splits.train, splits.validation, splits.test))
    splits = replace(splits, train=train, validation=validation, test=test)
    return replace(splits, may_have_duplicates=group is None)


def _read(listing: Listing, name: str, pictures: Pictures) -> Images:
    """The pictures of a listing, with their labels and captions."""
    images = Images(decoded(listing.files, pictures, name), name)
    if listing.labels is not None:
        numbers = all(label.isascii() and label.isdigit() for label in listing.labels)
        by_number = numbers and listing.columns is not None
        classes = sorted(set(listing.labels), key=_as_number if by_number else None)
        places = {label: place for place, label in enumerate(classes)}
        labels = np.array([places[label] for label in listing.labels], np.int64)
        images = replace(images, labels=labels, classes=tuple(classes))
    return images if listing.captions is None else with_captions(images, listing.captions)


def _as_number(digits: str) -> tuple[int, str, str]:
    """What puts texts of digits into the order of their numbers, however long they are."""
    plain = digits.lstrip("0")
    return len(plain), plain, digits


def _refuse_differences(folder: Path, images: dict[str, Images]) -> None:
    """Parts of one data set have the same labels and the same shape."""
    first_part, first = next(iter(images.items()))
    for part, other in images.items():
        if other.classes != first.classes:
            raise DataError(
                f"{folder}: {first_part} has the labels {', '.join(first.classes) or 'none'}, "
                f"{part} {', '.join(other.classes) or 'none'}; make them the same"
            )
        if other.shape != first.shape:
            raise DataError(f"{folder}: {part} images are {other.shape}, others {first.shape}")


def _groups(listing: Listing, group: str) -> list[str]:
    """The name of each picture's group: from a column, or what a regular expression finds in its
    path; a picture in which it finds nothing is a group of its own.
    """
    if listing.columns is not None and group in listing.columns:
        values = listing.columns[group]
        return [value or f"{path}" for value, path in zip(values, listing.files, strict=True)]
    if ENDLESS.search(group):
        raise UsageError(
            f"group {group!r}: a repeat of what holds repeats or alternatives may take for ever; "
            "write it without the outer repeat"
        )
    try:
        pattern = re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"group {group!r}: not a regular expression ({first_line(error)})"
        ) from error
    paths = [path.relative_to(listing.folder).as_posix() for path in listing.files]
    matches = [pattern.search(path) for path in paths]
    alone = sum(match is None for match in matches)
    if alone == len(paths):
        columns = f"; columns there are: {', '.join(listing.columns)}" if listing.columns else ""
        raise UsageError(
            f"group {group!r} is found in no path of {listing.folder}, such as {paths[0]}{columns}"
        )
    if alone:
        say(f"{listing.folder}: group {group!r} is not found in {alone} of {len(paths)} paths, "
            "each of which is a group of its own")  # fmt: skip
    return [
        path if match is None else " ".join(map(str, match.groups() or [match.group(0)]))
        for path, match in zip(paths, matches, strict=True)
    ]


def _warn_of_shared_groups(folder: Path, groups: dict[str, list[str]]) -> None:
    """Say so where a group is in several parts that the folder itself has."""
    parts = list(groups)
    for index, part in enumerate(parts):
        for other in parts[index + 1 :]:
            shared = set(groups[part]) & set(groups[other])
            if shared:
                say(
                    f"warning: {folder}: {len(shared)} groups, such as {min(shared)!r}, are in "
                    f"both {part} and {other}, so results will be too optimistic"
                )
