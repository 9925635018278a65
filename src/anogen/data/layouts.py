"""How folders of pictures are laid out: one table, from the most particular to the plainest."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anogen.data.pictures import KINDS, NO_PICTURE, PICTURE_SUFFIXES, check_regular
from anogen.data.text import lines_of
from anogen.data.walk import Walk, walk
from anogen.errors import DataError, first_line
from anogen.progress import say

GOOD = "good"
"""What MVTec AD's layout calls pictures without a defect."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""The files in which Hugging Face's image folders keep labels and captions."""
CAPTIONS = ("text", "caption", "captions")
"""The columns of these files that hold captions, the first one that there is."""
TEXT = ".txt"
"""The ending of files beside pictures that hold their captions."""
PARTS = {"train": "train", "test": "test", "val": "validation", "valid": "validation",
         "validation": "validation"}  # fmt: skip
"""Names of sub-folders that are splits, and of which."""


@dataclass(frozen=True)
class Listing:
    """Pictures that were found, not yet read, in the order in which they will be numbered.

    Attributes:
        folder: in which they lie.
        files: the pictures.
        labels: the class of each, or None.
        captions: what is said of each, or None.
        columns: further columns of a metadata file, name → a value for each picture.
    """

    folder: Path
    files: list[Path]
    labels: list[str] | None = None
    captions: list[tuple[str, ...]] | None = None
    columns: dict[str, list[str]] | None = None


@dataclass(frozen=True)
class Found:
    """What a layout makes of a folder.

    Attributes:
        parts: `train`, `validation` and `test`, as far as there are any; or `all`.
        reading: what was taken for what, for the user.
    """

    parts: dict[str, Listing]
    reading: str


@dataclass(frozen=True)
class Layout:
    """A way in which folders are laid out.

    Attributes:
        looks: what is in such a folder.
        find: a folder → what is in it, or None if it is not laid out so.
    """

    looks: str
    find: Callable[[Path], Found | None]


def lay_out(folder: Path) -> Found:
    """What is in a folder, by the first layout that it has; says in one line how it was read.

    Raises:
        DataError: there is no picture, or what a layout promises is not there.
    """
    layout_parts = next(
        layout_parts for layout in LAYOUTS.values() if (layout_parts := layout.find(folder))
    )
    if not all(listing.files for listing in layout_parts.parts.values()):
        raise DataError(f"{folder}: {NO_PICTURE}")
    say(f"{folder}: {layout_parts.reading}")
    return layout_parts


def _mvtec(folder: Path) -> Found | None:
    inside = {part: sub_folders(folder / part) for part in ("train", "test")}
    if inside["train"] != [GOOD] or GOOD not in inside["test"]:
        return None
    defects = [name for name in inside["test"] if name != GOOD]
    if not defects:
        return None
    return Found(
        {part: _flat(_walked(folder / part / GOOD)) for part in ("train", "test")},
        f"MVTec AD's layout: train/{GOOD} is learnt, test/{GOOD} tests it; each kind of defect is "
        f"a set of its own, such as {folder / 'test' / defects[0]}",
    )


def _splits(folder: Path) -> Found | None:
    if _has_metadata(folder):
        named = _by_part(_described(folder))
    else:
        named = {name: _listing(folder / name) for name in PARTS if (folder / name).is_dir()}
    named = {name: listing for name, listing in named.items() if listing.files}
    parts = {PARTS[name]: listing for name, listing in named.items()}
    if len(parts) < len(named):
        double = [name for name in named if PARTS[name] == "validation"]
        raise DataError(f"{folder}: {' and '.join(double)} both hold pictures; make them one")
    if "train" not in parts or len(parts) < 2:
        return None
    reading = f"{', '.join(named)} are the splits{_labelled(*parts.values())}"
    if "test" not in parts:
        other = next(name for name in named if name != "train")
        reading += f"; there is no test folder, so that {other} serves as test, and validation " \
                   "images are held out of train"  # fmt: skip
    return Found(parts, reading)


def _by_part(listing: Listing) -> dict[str, Listing]:
    """A listing taken apart by the first folder of each path; empty if one of them is no split."""
    first = [path.relative_to(listing.folder).parts[0] for path in listing.files]
    if not set(first) <= set(PARTS):
        return {}

    def chosen(values: "list[Any] | None", name: str) -> "list[Any] | None":
        pairs = None if values is None else zip(values, first, strict=True)
        return None if pairs is None else [value for value, part in pairs if part == name]

    return {
        name: Listing(
            listing.folder,
            chosen(listing.files, name) or [],
            chosen(listing.labels, name),
            chosen(listing.captions, name),
            {
                column: chosen(values, name) or []
                for column, values in (listing.columns or {}).items()
            },
        )
        for name in dict.fromkeys(first)
    }


def _metadata(folder: Path) -> Found | None:
    if not _has_metadata(folder):
        return None
    listing = _listing(folder)
    return Found({"all": listing}, f"{len(listing.files)} pictures{_labelled(listing)}")


def _plain(folder: Path) -> Found:
    like = [name for name in sub_folders(folder) if name.lower() in PARTS]
    if like:
        say(
            f"warning: {folder}: {', '.join(like)} would be splits, but there is no train beside a "
            "test or val folder (in small letters), so that sub-folders are labels"
        )
    listing = _listing(folder)
    return Found({"all": listing}, f"{len(listing.files)} pictures{_labelled(listing)}")


LAYOUTS: dict[str, Layout] = {
    "MVTec AD": Layout(
        "train/good, test/good, test/<kind of defect>, ground_truth/<kind of defect>", _mvtec
    ),
    "splits": Layout("train beside test or val, each laid out in one of the ways below", _splits),
    "metadata": Layout(
        "metadata.csv or metadata.jsonl with file_name and text or label, as Hugging Face has it",
        _metadata,
    ),
    "classes or flat": Layout(
        "sub-folders that are labels, or pictures side by side; captions in cat.txt beside cat.png",
        _plain,
    ),
}
"""Every layout, tried in this order."""


def _has_metadata(folder: Path) -> bool:
    return any((folder / name).is_file() for name in METADATA)


def sub_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, without hidden ones; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _walked(folder: Path) -> Walk:
    files = walk(folder)
    files.say_left_out()
    return files


def _flat(walked: Walk) -> Listing:
    return Listing(walked.folder, walked.files)


def _listing(folder: Path) -> Listing:
    """The pictures of a folder without splits, with labels and captions as far as there are any."""
    if _has_metadata(folder):
        return _described(folder)
    walked = walk(folder)
    captions = _beside(walked)
    walked.say_left_out()
    above = [path.relative_to(folder).parts[0] for path in walked.files if path.parent != folder]
    if not above or len(above) < len(walked.files):
        if above:
            say(f"{folder}: {len(walked.files) - len(above)} of {len(walked.files)} pictures lie "
                "in no sub-folder, so that sub-folders are not taken for labels")  # fmt: skip
        return Listing(folder, walked.files, captions=captions)
    return Listing(folder, walked.files, above, captions)


def _beside(walked: Walk) -> list[tuple[str, ...]] | None:
    """The captions in text files beside pictures, `cat.txt` of `cat.png`, each line one of them;
    None where there is no such file. Those that are read count as left out no more.
    """
    if not walked.left_out[TEXT]:
        return None
    beside = [path.with_suffix(TEXT) for path in walked.files]
    there = [path.is_file() for path in beside]
    if not any(there):
        return None
    used = len({path for path, is_there in zip(beside, there, strict=True) if is_there})
    walked.left_out.subtract({TEXT: used})
    if not walked.left_out[TEXT]:
        del walked.left_out[TEXT]
    return [
        tuple(lines_of(path)) if is_there else ()
        for path, is_there in zip(beside, there, strict=True)
    ]


def _labelled(*listings: Listing) -> str:
    """What is known of the pictures beside their pixels, for the reading."""
    first = listings[0]
    parts: list[str] = []
    if first.labels is not None:
        parts.append(f"{len(set(first.labels))} classes by sub-folder"
                     if first.columns is None else f"{len(set(first.labels))} classes")  # fmt: skip
    if first.captions is not None:
        parts.append(f"{sum(map(len, first.captions))} captions")
        bare = sum(not texts for texts in first.captions)
        if bare:
            parts.append(f"{bare} of {len(first.captions)} pictures without a caption")
    return f", with {' and '.join(parts)}" if parts else ", without labels"


def _described(folder: Path) -> Listing:
    """The pictures that a metadata file names, in the order of their names.

    A picture that is named several times has several captions; so has one with a list of them.
    """
    there = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{folder}: has {' and '.join(METADATA)}; keep one of them")
    rows = list(_rows(there[0]))
    if not rows:
        raise DataError(f"{there[0]}: names no picture")
    there_are = list(dict.fromkeys(column for row in rows for column in row))
    captioned = next((name for name in CAPTIONS if name in there_are), None)
    captions: dict[str, list[str]] = {}
    first: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        name = _file_name(row, there[0], number)
        earlier = first.setdefault(name, row)
        if "label" in there_are and row.get("label") in (None, ""):
            raise DataError(f"{there[0]}: row {number}, {name}, has no label; others have one")
        if str(earlier.get("label")) != str(row.get("label")):
            raise DataError(f"{there[0]}: {name} has the label {earlier.get('label')} and, in row "
                            f"{number}, {row.get('label')}")  # fmt: skip
        captions.setdefault(name, []).extend(_texts(row.get(captioned or ""), there[0], number))
    names = sorted(first)
    _say_unnamed(folder, set(names))
    others = [name for name in there_are if name not in ("file_name", captioned)]
    columns = {
        column: [_as_text(first[name].get(column), there[0]) for name in names] for column in others
    }
    return Listing(
        folder,
        [folder / name for name in names],
        columns.get("label"),
        [tuple(captions[name]) for name in names] if captioned else None,
        columns,
    )


def _as_text(value: Any, metadata: Path) -> str:
    """A value of a column; empty where there is none."""
    if isinstance(value, dict | list):
        raise DataError(f"{metadata}: {value!r} is neither text nor a number")
    return "" if value is None else str(value)


def _file_name(row: dict[str, Any], metadata: Path, number: int) -> str:
    """The path of a row's picture, within the folder."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{metadata}: row {number} has no file_name")
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"{metadata}: row {number} names {name}, which is not in this folder")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(f"{metadata}: row {number} names {name}, which is not {KINDS}")
    if not (metadata.parent / path).is_file():
        raise DataError(f"{metadata}: row {number} names {name}, which is not there")
    return path.as_posix()


def _texts(value: Any, metadata: Path, number: int) -> list[str]:
    texts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{metadata}: the caption of row {number} is no text: {value!r}")
    return [text for text in texts if text]


def _rows(metadata: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metadata file, each a value by column."""
    check_regular(metadata)
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as file:
            if metadata.suffix == ".csv":
                for row in csv.DictReader(file):
                    if None in row:
                        raise DataError(f"{metadata}: a row has more values than there are columns")
                    yield row
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f"{metadata}: line {number} is no JSON object")
                    yield row
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{metadata}: cannot be read ({first_line(error)})") from error


def _say_unnamed(folder: Path, named: set[str]) -> None:
    """Say how many pictures of a folder its metadata file does not name, and what else there is."""
    walked = walk(folder)
    for ending in (".csv", ".jsonl"):
        del walked.left_out[ending]
    walked.say_left_out()
    unnamed = sum(path.relative_to(folder).as_posix() not in named for path in walked.files)
    if unnamed:
        say(f"warning: {folder}: {unnamed} of {len(walked.files)} pictures are not named in the "
            "metadata file and are left out")  # fmt: skip
