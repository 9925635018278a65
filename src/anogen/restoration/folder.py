"""Folders of pictures restored: one file for each, to be gone on with where it stopped."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.data.files import is_folder
from anogen.data.pictures import PICTURE_SUFFIXES
from anogen.data.walk import walk
from anogen.durable import make_folder, replace_durably
from anogen.errors import DataError, MachineError, TrainingError, UsageError, first_line
from anogen.evaluation.reconstruction import WINDOW, psnr_db, ssim
from anogen.progress import Progress, say
from anogen.restoration.files import Picture
from anogen.restoration.layout import Layout
from anogen.restoration.restore import Restored

RECORD = "restored.jsonl"
SAMPLES, LOW, HIGH = "samples", "low", "high"
"""The folders, beside the results, of further pictures that could have been, and of the ends of the
intervals."""
OTHERS = (LOW, HIGH, SAMPLES)
PAGE = "restored.html"
MOST_NAME = 4096
ROUNDING = 0.5 / 255
"""Half a grey level: the ends of intervals are rounded to whole ones."""
Restore = Callable[[NDArray[Any], NDArray[Any] | None], Restored]
"""Pixels and the mask of what is missing → what may have been."""


@dataclass(frozen=True)
class Row:
    """What became of one picture.

    Attributes:
        file: as it was given.
        out: of the restored one, relative to the folder of results.
        sha256: of the file.
        settings: a hash of how it was restored, and by which weights.
        seconds: that it took.
        psnr_before_db: of the given picture against the original, where there is one, decibels.
        psnr_db: of the restored one.
        ssim_before: structural similarity of the given picture with the original.
        ssim: of the restored one.
        coverage: share of the original's pixels that lie in their intervals.
        written: all files that were written for it, relative to the folder of results.
        error: why it could not be restored; empty where it could.
    """

    file: str
    out: str
    sha256: str = ""
    settings: str = ""
    seconds: float = 0.0
    psnr_before_db: float | None = None
    psnr_db: float | None = None
    ssim_before: float | None = None
    ssim: float | None = None
    coverage: float | None = None
    written: list[str] = field(default_factory=list[str])

    def check(self) -> None:
        """Refuse what no call notes.

        Raises:
            ValueError: a value of another type, or out of bounds.
        """
        texts = [self.file, self.out, self.sha256, self.settings, self.error, *self.written]
        numbers = [self.seconds, self.psnr_before_db, self.psnr_db, self.ssim_before, self.ssim,
                   self.coverage]  # fmt: skip
        if not all(type(text) is str and len(text) < MOST_NAME for text in texts):
            raise ValueError("a text is none")
        known = [number for number in numbers if number is not None]
        if not all(type(number) in (int, float) and abs(number) < 1e9 for number in known):
            raise ValueError("a number is none")

    error: str = ""


@dataclass(frozen=True)
class Job:
    """Pictures to restore.

    Attributes:
        files: source → the name of its result, relative to the folder of results.
        out: the folder of results.
        masks: a picture of what is missing, white where it is, or a folder with one of the same
            name for each picture; or None.
        originals: a folder with undamaged pictures of the same names, or one such file; or None.
    """

    files: Mapping[Path, Path]
    out: Path
    masks: Path | None = None
    originals: Path | None = None

    @classmethod
    def find(
        cls,
        given: Sequence[str | Path],
        out: str | Path,
        masks: str | Path | None = None,
        originals: str | Path | None = None,
    ) -> "Job":
        """The pictures in files and folders, with a name for each result.

        Raises:
            DataError: something is missing, or no picture.
            UsageError: results would take the place of the pictures, or of one another.
        """
        files: dict[Path, Path] = {}
        for path in map(Path, given):
            if is_folder(path):
                walked = walk(path)
                walked.say_left_out()
                files |= {file: file.relative_to(path) for file in walked.files
                          if not _within(file, Path(out)) or _within(path, Path(out))}  # fmt: skip
            elif path.exists():
                files[path] = Path(path.name)
            else:
                raise DataError(f"{path}: No such file or folder")
        if not files:
            raise DataError(f"{given[0]}: no picture in it" if given else "give pictures")
        names: dict[Path, Path] = {}
        for file, name in files.items():
            if name in names:
                raise UsageError(f"{names[name]} and {file} would both become {name}; restore them "
                                 "into two folders")  # fmt: skip
            if str(name) in (RECORD, PAGE):
                raise UsageError(f"{file}: {name} is what the record or the page is called; give "
                                 "the picture another name")  # fmt: skip
            names[name] = file
        out = Path(out)
        taken = next((name for name in names if name.parts[0] in OTHERS and name.parts[1:]), None)
        if taken is not None:
            raise UsageError(f"{names[taken]}: results called {'/, '.join(OTHERS)}/ are something "
                             f"else; restore the folder {taken.parts[0]} by itself")  # fmt: skip
        for path in (masks, originals):
            if path is not None and not Path(path).exists():
                raise DataError(f"{path}: No such file or folder")
        job = cls(files, out, None if masks is None else Path(masks),
                  None if originals is None else Path(originals))  # fmt: skip
        job._refuse_losses()
        return job

    def _refuse_losses(self) -> None:
        """Refuse results in the place of what is given."""
        given = set(map(_real, self.files))
        for place in filter(None, (self.masks, self.originals)):
            for name in self.files.values():
                path = self.beside(place, name)
                given |= set() if path is None else {_real(path)}
        for name in self.files.values():
            samples = [path / name for path in (self.out / SAMPLES).glob("*")]
            for path in (self.out / name, self.out / LOW / name, self.out / HIGH / name, *samples):
                if _real(path) in given:
                    raise UsageError(f"--out {self.out}: {path} would be lost; choose another "
                                     "folder")  # fmt: skip

    def go(self, restore: Restore, settings: str) -> Iterator[Row]:
        """Restore what has not been restored in this manner, in order; a row for each picture.

        Args:
            restore: pixels `[h, w]` or `[h, w, 3]` and a mask `[h, w]` → restored ones like them.
            settings: what the result depends on beside the picture.

        Raises:
            MachineError: a result cannot be written.
        """
        make_folder(self.out)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        done = self._done()
        kept = 0
        with Progress("restoring", len(self.files), "pictures") as bar:
            for file, name in self.files.items():
                before = done.get(str(name))
                row = self._one(file, name, restore, digest, before)
                if row is before:
                    kept, row = kept + 1, replace(row, file=str(file))
                else:
                    self._note(row)
                if row.error:
                    say(f"{file}: not restored: {row.error}")
                bar.advance(1)
                yield row
        if kept:
            say(f"{kept} of {len(self.files)} pictures had been restored before, and were kept")

    def _one(
        self, file: Path, name: Path, restore: Restore, digest: str, before: Row | None
    ) -> Row:
        start = perf_counter()
        try:
            picture = Picture.read(file)
            mask, key = self._mask(file, name)
            original, of_original = self._original(name, picture.pixels)
            settings = digest + key + of_original
            if (
                before is not None and not before.error and before.sha256 == picture.sha256
                and before.settings == settings
                and all((self.out / path).is_file() for path in {str(name), *before.written})
            ):  # fmt: skip
                return before
            found = restore(picture.pixels, mask)
            contents = {name: picture.content(found.images)}
            for number, sample in enumerate([] if found.samples is None else found.samples, 1):
                contents[Path(SAMPLES, str(number), name)] = picture.content(sample)
            for end, pixels in ((LOW, found.low), (HIGH, found.high)):
                if pixels is not None:
                    contents[Path(end, name)] = picture.content(pixels)
            measured = _measured(original, picture.pixels, found)
        except (DataError, UsageError, TrainingError) as error:
            return Row(str(file), str(name), error=first_line(error).removeprefix(f"{file}: "))
        for path, content in contents.items():
            make_folder((self.out / path).parent)
            replace_durably(self.out / path, content)
        return Row(
            str(file), str(name), picture.sha256, settings, round(perf_counter() - start, 3),
            written=[str(path) for path in contents], **measured,
        )  # fmt: skip

    def _mask(self, file: Path, name: Path) -> tuple[NDArray[np.bool_] | None, str]:
        """Where pixels of a picture are missing, and a hash of that."""
        if self.masks is None:
            return None, ""
        path = self.beside(self.masks, name)
        if path is None:
            raise DataError(f"{file}: there is no mask for it in {self.masks}")
        picture = Picture.read(path)
        return picture.as_mask(), picture.sha256[:16]

    def _original(self, name: Path, given: NDArray[Any]) -> tuple[NDArray[Any] | None, str]:
        """The undamaged picture, where there is one, and a hash of it."""
        path = None if self.originals is None else self.beside(self.originals, name)
        if path is None:
            return None, ""
        original = Picture.read(path)
        if original.pixels.shape != given.shape:
            raise DataError(f"{path}: of shape {list(original.pixels.shape)}, the damaged picture "
                            f"has {list(given.shape)}")  # fmt: skip
        return original.pixels, original.sha256[:16]

    @staticmethod
    def beside(place: Path, name: Path) -> Path | None:
        """The picture in a folder that goes with a name, whatever its ending; or the one file."""
        if not is_folder(place):
            return place
        if (place / name).is_file():
            return place / name
        others = [(place / name).with_suffix(suffix) for suffix in sorted(PICTURE_SUFFIXES)]
        return next((path for path in others if path.is_file()), None)

    def _done(self) -> dict[str, Row]:
        """What earlier calls have noted, by the name of the result; damaged lines count nothing."""
        path = self.out / RECORD
        if not path.is_file():
            return {}
        rows: dict[str, Row] = {}
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                row = Row(**json.loads(line))
                row.check()
            except (ValueError, TypeError, RecursionError, AttributeError):
                continue
            rows[row.out] = row
        return rows

    def _note(self, row: Row) -> None:
        try:
            path = self.out / RECORD
            cut = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(("\n" if cut else "") + json.dumps(asdict(row)) + "\n")
        except OSError as error:
            raise MachineError(
                f"{self.out / RECORD}: cannot be written ({error.strerror})"
            ) from error


def _measured(
    original: NDArray[Any] | None, given: NDArray[Any], found: Restored
) -> dict[str, Any]:
    if original is None:
        return {}
    x, y, z = (Layout.read(array)[1] for array in (original, given, found.images))
    numbers = {
        "psnr_before_db": psnr_db(x, y).item(), "psnr_db": psnr_db(x, z).item()
    }  # fmt: skip
    if min(x.shape[2:]) >= WINDOW:
        numbers |= {"ssim_before": ssim(x, y).item(), "ssim": ssim(x, z).item()}
    if found.low is not None and found.high is not None:
        low, high = (Layout.read(end)[1] for end in (found.low, found.high))
        inside = (low - ROUNDING <= x) & (x <= high + ROUNDING)
        numbers["coverage"] = inside.double().mean().item()
    return {key: round(value, 4) for key, value in numbers.items()}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the pictures, with how many there were and how many could not be restored."""
    result: dict[str, Any] = {
        "pictures": len(rows), "errors": sum(bool(row.error) for row in rows),
        "seconds": round(sum(row.seconds for row in rows), 3),
    }  # fmt: skip
    for name in ("psnr_before_db", "psnr_db", "ssim_before", "ssim", "coverage"):
        values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        if values:
            result[name] = float(torch.tensor(values, dtype=torch.float64).mean())
    return result


def _within(path: Path, folder: Path) -> bool:
    return Path(_real(path)).is_relative_to(_real(folder))


def _real(path: Path) -> str:
    """The one name of a file, which need not exist."""
    return os.path.realpath(path)
