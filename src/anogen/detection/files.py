"""Scores of files: one row for each image, a few at a time, to be resumed where it stopped."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.checkpoint import replace_durably
from anogen.data.batches import evaluation_batch
from anogen.data.files import PICTURE_SUFFIXES, Resize, open_array, pictures_in, read_picture
from anogen.data.images import Images, images_from_array
from anogen.detection.detector import Detector
from anogen.errors import DataError, MachineError, UsageError
from anogen.progress import Progress, silence

FORMATS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """What is known of one image.

    Attributes:
        file: where it is.
        index: its place in the file; 0 for a picture.
        score: higher means further out; None where there is an error.
        p_value: conformal, in (0, 1].
        label: 1 for out, 0 for in, at the rate that was asked for.
        error: why it could not be scored, or empty.
    """

    file: str
    index: int
    score: float | None = None
    p_value: float | None = None
    label: int | None = None
    error: str = ""


@dataclass(frozen=True)
class _Item:
    """One image, or why there is none: uint8 `[c, h, w]`."""

    file: str
    index: int
    pixels: NDArray[np.uint8] | None
    error: str = ""


@dataclass(frozen=True)
class Sources:
    """Images in files, found but not yet read.

    Attributes:
        parts: a path with the array in it, or with None for a picture.
        counts: images in each part.
    """

    parts: list[tuple[Path, NDArray[Any] | None, str]]
    counts: list[int]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def identity(self) -> list[list[str | int]]:
        """Path, count, size and time of change of each part: the same for the same files."""
        found: list[list[str | int]] = []
        for (path, _, _), count in zip(self.parts, self.counts, strict=True):
            about = path.stat() if path.exists() else None
            sizes = [0, 0] if about is None else [about.st_size, about.st_mtime_ns]
            found.append([str(path), count, *sizes])
        return found


def find_sources(paths: Iterable[str | Path]) -> Sources:
    """Pictures, folders of pictures, and array files, in the order given.

    A file that cannot be opened, or a folder without pictures, counts as one image with an error.

    Raises:
        DataError: nothing at all is there.
    """
    parts: list[tuple[Path, NDArray[Any] | None, str]] = []
    counts: list[int] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = pictures_in(path)
            empty = (path, None, f"{path}: no PNG or JPEG picture in it")
            parts += [(picture, None, "") for picture in found] or [empty]
            counts += [1] * max(1, len(found))
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            parts.append((path, None, ""))
            counts.append(1)
        else:
            try:
                array = open_array(path)
                if array.ndim < 3:
                    raise DataError(f"{path}: shape {list(array.shape)} is not [n, h, w]")
                parts.append((path, array, ""))
                counts.append(len(array))
            except DataError as error:
                parts.append((path, None, str(error)))
                counts.append(1)
    if not sum(counts):
        raise DataError("there is no image to score in what was given")
    return Sources(parts, counts)


def score_files(
    detector: Detector,
    sources: Sources,
    *,
    false_positive_rate: float = 0.01,
    image_size: int | None = None,
    resize: Resize = "stretch",
    skip: int = 0,
    strict: bool = False,
) -> Iterator[Row]:
    """One row for each image, in order; a few hundred images are held at a time.

    Args:
        detector: a calibrated one.
        sources: from `find_sources`.
        false_positive_rate: by which labels are given.
        image_size: height and width to bring pictures to; None keeps theirs.
        resize: `"stretch"` or `"crop"`, as in `load_data`.
        skip: images to leave out at the beginning: they were scored before.
        strict: raise at the first image that cannot be scored, instead of a row with its error.

    Raises:
        UsageError: a rate that the calibration cannot support.
        DataError: a bad image, where `strict`.
    """
    threshold = detector.calibration.threshold(false_positive_rate)
    shape = detector.model.shape
    items = _items(sources, shape, image_size, resize, skip)
    size = evaluation_batch(shape)
    with Progress("scoring", len(sources), done=skip) as bar:
        while chunk := list(islice(items, size)):
            yield from _rows(detector, chunk, threshold, strict)
            bar.advance(len(chunk))


def _rows(detector: Detector, chunk: list[_Item], threshold: float, strict: bool) -> Iterator[Row]:
    bad = next((item.error for item in chunk if item.error), "")
    if bad and strict:
        raise DataError(bad)
    good = [item.pixels for item in chunk if item.pixels is not None]
    scores = iter(())
    if good:
        with silence():
            values = detector.score(Images(np.stack(good), "files"))
        scores = iter(zip(values, detector.calibration.p_value(values), strict=True))
    for item in chunk:
        if item.pixels is None:
            yield Row(item.file, item.index, error=item.error)
            continue
        score, p_value = next(scores)
        if np.isfinite(score):
            label = int(score > threshold)
            yield Row(item.file, item.index, float(score), float(p_value), label)
        else:
            yield Row(item.file, item.index, error=f"the score is {score}; choose another one")


def _items(
    sources: Sources,
    shape: tuple[int, int, int],
    image_size: int | None,
    resize: Resize,
    skip: int,
) -> Iterator[_Item]:
    for (path, array, error), count in zip(sources.parts, sources.counts, strict=True):
        if skip >= count:
            skip -= count
            continue
        if error:
            yield _Item(str(path), 0, None, error)
        elif array is None:
            yield _picture(path, shape, image_size, resize)
        else:
            step = evaluation_batch(shape)
            for start in range(skip, count, step):
                yield from _slice(path, array, start, min(start + step, count), shape)
        skip = 0


def _picture(
    path: Path, shape: tuple[int, int, int], image_size: int | None, resize: Resize
) -> _Item:
    try:
        pixels = read_picture(path, image_size, resize, shape[0]).transpose(2, 0, 1)
        return _Item(str(path), 0, _fitting(pixels, shape, str(path)))
    except DataError as error:
        return _Item(str(path), 0, None, str(error))


def _slice(
    path: Path, array: NDArray[Any], start: int, stop: int, shape: tuple[int, int, int]
) -> Iterator[_Item]:
    """Some images of an array; where one is bad, each alone, so that the others are not lost."""
    try:
        pixels = images_from_array(array[start:stop], str(path), first=start).pixels[:]
        for index, image in enumerate(pixels, start):
            yield _Item(str(path), index, _fitting(image, shape, str(path)))
    except DataError as error:
        if stop - start == 1:
            yield _Item(str(path), start, None, str(error))
        else:
            for index in range(start, stop):
                yield from _slice(path, array, index, index + 1, shape)


def _fitting(
    pixels: NDArray[np.uint8], shape: tuple[int, int, int], name: str
) -> NDArray[np.uint8]:
    if pixels.shape == shape:
        return pixels
    hint = ""
    if pixels.shape[0] == shape[0] and shape[1] == shape[2]:
        hint = f"; pictures are brought to its size with --image_size {shape[1]}"
    raise DataError(
        f"{name}: {list(pixels.shape)} (channels, height, width), the model has {list(shape)}{hint}"
    )


def write_rows(rows: Iterable[Row], out: Path, job: dict[str, Any], done: int) -> Path:
    """Write rows beside `out` as they come, and give them their name when all are there.

    Args:
        rows: those not yet written.
        out: a name ending in `.csv`, `.jsonl` or `.parquet`.
        job: what tells this work from another; kept in the first line of the part.
        done: rows that are in the part already, from `rows_done`.
    """
    part = part_of(out)
    try:
        with part.open("a" if done else "w", encoding="utf-8") as file:
            if not done:
                file.write(json.dumps(job) + "\n")
            for row in rows:
                file.write(json.dumps(asdict(row), allow_nan=False) + "\n")
        _WRITERS[out.suffix](_read(part), out)
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        raise MachineError(f"{out}: cannot be written ({error.strerror})") from error
    part.unlink()
    return out


def part_of(out: Path) -> Path:
    """Where rows stand until all are there."""
    return out.with_name(out.name + ".part")


def rows_done(out: Path, job: dict[str, Any]) -> int:
    """How many rows of this work an interrupted call has left; half a line is cut off.

    Raises:
        UsageError: the part is of other work.
    """
    part = part_of(out)
    if not part.exists():
        return 0
    content = part.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.count(b"\n")
    if not lines:
        return 0
    try:
        first = json.loads(whole.split(b"\n", 1)[0])
    except ValueError:
        first = None
    if first != job:
        raise UsageError(f"{part} is of other files or another detector; remove it, or choose "
                         "another --out")  # fmt: skip
    if len(whole) < len(content):
        replace_durably(part, whole)
    return lines - 1


def check_format(out: Path) -> None:
    """Refuse a name that says no format, or one that needs what is not installed."""
    if out.suffix not in FORMATS:
        raise UsageError(f"--out {out}: expected a name ending in {', '.join(FORMATS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MachineError(
            "parquet needs pyarrow: pip install 'anogen[parquet]', or write .csv or .jsonl"
        )


def _read(part: Path) -> Iterator[dict[str, Any]]:
    with part.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            yield json.loads(line)


def write_csv(rows: Iterable[dict[str, Any]], file: Any) -> None:
    """Rows as comma-separated values with a heading, to an open text file."""
    writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _to_csv(rows: Iterator[dict[str, Any]], out: Path) -> None:
    with _aside(out).open("w", newline="", encoding="utf-8") as file:
        write_csv(rows, file)
    _aside(out).replace(out)


def _to_jsonl(rows: Iterator[dict[str, Any]], out: Path) -> None:
    with _aside(out).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    _aside(out).replace(out)


def _to_parquet(rows: Iterator[dict[str, Any]], out: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = [field.name for field in fields(Row)]
    types = [pa.string(), pa.int64(), pa.float64(), pa.float64(), pa.int64(), pa.string()]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with parquet.ParquetWriter(_aside(out), schema) as writer:
        while chunk := list(islice(rows, 50_000)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
    _aside(out).replace(out)


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.writing")


_WRITERS = {".csv": _to_csv, ".jsonl": _to_jsonl, ".parquet": _to_parquet}
