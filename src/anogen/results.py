"""Resumable folders of results: for each picture the file that was made of it."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from anogen.data.files import is_folder
from anogen.data.pictures import PICTURE_SUFFIXES, check_regular
from anogen.data.walk import walk
from anogen.durable import make_folder, replace_durably
from anogen.errors import DataError, MachineError, TrainingError, UsageError, first_line
from anogen.evaluation.reconstruction import WINDOW, psnr_db, ssim
from anogen.progress import Progress, say

MOST_NAME = 4096
MOST_NUMBER = 1e9


@dataclass(frozen=True)
class Row:
    """What became of one picture.

    Attributes:
        file: as it was given.
        out: of its result, relative to the folder of results.
        sha256: of the file.
        settings: a hash of all else that the result depends on.
        seconds: that it took.
        written: all files that were written for it, relative to the folder of results.
        error: why there is no result; empty where there is one.
    """

    file: str
    out: str
    sha256: str = ""
    settings: str = ""
    seconds: float = 0.0
    written: list[str] = field(default_factory=list[str])
    error: str = ""

    def check(self) -> None:
        """Refuse what no call notes.

        Raises:
            ValueError: a value of another type, or out of bounds.
        """
        for each in fields(self):
            value: Any = getattr(self, each.name)
            if each.default is None and value is None:
                continue
            if isinstance(each.default, float | None):
                if type(value) not in (int, float) or not abs(value) < MOST_NUMBER:
                    raise ValueError(f"{each.name} is no number")
            else:
                texts = value if each.name == "written" and isinstance(value, list) else [value]
                if not all(type(text) is str and len(text) < MOST_NAME for text in texts):
                    raise ValueError(f"{each.name} is no text")


R = TypeVar("R", bound=Row)
Made = tuple[Mapping[Path, bytes], Mapping[str, Any]]
"""Files to write, by their paths in the folder of results, and further values of the row."""


@dataclass(frozen=True)
class FolderJob(ABC, Generic[R]):
    """Pictures of which files are to be made.

    Attributes:
        files: source → the name of its result, relative to the folder of results.
        out: the folder of results.
    """

    DONE: ClassVar[str]
    """What pictures are afterwards, such as `restored`: the name of the record and of the page."""
    DOING: ClassVar[str]
    """What is done with them, such as `restoring`."""
    OTHERS: ClassVar[tuple[str, ...]] = ()
    """Folders beside the results, of further files."""
    ROW: ClassVar[type[Row]] = Row

    files: Mapping[Path, Path]
    out: Path

    @property
    def record(self) -> Path:
        """The file in which rows are noted, one on each line."""
        return self.out / f"{self.DONE}.jsonl"

    @property
    def page(self) -> Path:
        """The file of the page."""
        return self.out / f"{self.DONE}.html"

    @abstractmethod
    def key(self, file: Path, name: Path) -> str:
        """What the result of a picture depends on beside it and the settings, such as a mask."""

    @abstractmethod
    def make(self, file: Path, content: bytes, name: Path) -> Made:
        """What is made of a picture.

        Args:
            file: as it was given.
            content: of the file.
            name: of the result.

        Raises:
            DataError, UsageError, TrainingError: nothing can be made of this one.
        """

    @classmethod
    def find_files(cls, given: Sequence[str | Path], out: Path) -> dict[Path, Path]:
        """The pictures in files and folders, with a name for the result of each.

        Raises:
            DataError: something is missing, or no picture.
            UsageError: results would take the place of one another, or of what else is written.
        """
        files: dict[Path, Path] = {}
        for path in map(Path, given):
            if is_folder(path):
                walked = walk(path)
                walked.say_left_out()
                files |= {file: file.relative_to(path) for file in walked.files
                          if not _within(file, out) or _within(path, out)}  # fmt: skip
            elif path.exists():
                files[path] = Path(path.name)
            else:
                raise DataError(f"{path}: No such file or folder")
        if not files:
            raise DataError(f"{given[0]}: no picture in it" if given else "give pictures")
        names: dict[Path, Path] = {}
        for file, name in files.items():
            if name in names:
                raise UsageError(f"{names[name]} and {file} would both become {name}; give them "
                                 "two folders for their results")  # fmt: skip
            if str(name) in (f"{cls.DONE}.jsonl", f"{cls.DONE}.html"):
                raise UsageError(f"{file}: {name} is what the record or the page is called; give "
                                 "the picture another name")  # fmt: skip
            names[name] = file
        taken = next((n for n in names if n.parts[0] in cls.OTHERS and n.parts[1:]), None)
        if taken is not None:
            raise UsageError(
                f"{names[taken]}: results called {'/, '.join(cls.OTHERS)}/ are something else; "
                f"give the folder {taken.parts[0]} by itself"
            )
        return files

    def refuse_losses(self, beside: Iterable[Path] = ()) -> None:
        """Refuse results in the place of what is given.

        Args:
            beside: files that are given beside the pictures.

        Raises:
            UsageError: one would be lost, or results would lie among what is given beside them.
        """
        others = [os.path.realpath(path) for path in beside]
        if Path(os.path.realpath(self.out)) in {Path(path).parent for path in others}:
            raise UsageError(f"--out {self.out}: pictures there would be lost, or be taken for "
                             "results; choose another folder")  # fmt: skip
        given = {os.path.realpath(path) for path in (*self.files, *others)}
        folders = [self.out, *(self.out / other for other in self.OTHERS)]
        folders += [path for folder in folders[1:] for path in folder.glob("*") if path.is_dir()]
        for name in self.files.values():
            for path in (folder / name for folder in folders):
                if os.path.realpath(path) in given:
                    raise UsageError(f"--out {self.out}: {path} would be lost; choose another "
                                     "folder")  # fmt: skip

    def go(self, settings: str) -> Iterator[R]:
        """Make what has not been made in this manner, in order; a row for each picture.

        Args:
            settings: what the results depend on beside the pictures.

        Raises:
            MachineError: a result cannot be written.
        """
        make_folder(self.out)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        done, known = self._done()
        kept = 0
        with Progress(self.DOING, len(self.files), "pictures") as bar:
            for file, name in self.files.items():
                before = done.get(str(name))
                ours = known is None or str(name) in known
                row = self._one(file, name, digest, before, ours)
                if row is before:
                    kept, row = kept + 1, replace(row, file=str(file))
                else:
                    self._note(row)
                if row.error:
                    say(f"{file}: not {self.DONE}: {row.error}")
                bar.advance(1)
                yield row
        if kept:
            say(f"{kept} of {len(self.files)} pictures had been {self.DONE} before, and were kept")

    def _one(self, file: Path, name: Path, digest: str, before: R | None, ours: bool) -> R:
        start = perf_counter()
        row: Any = self.ROW
        try:
            content = _content(file)
            sha256 = hashlib.sha256(content).hexdigest()
            settings = digest + self.key(file, name)
            if (
                before is not None and not before.error and before.sha256 == sha256
                and before.settings == settings
                and all((self.out / path).is_file() for path in {str(name), *before.written})
            ):  # fmt: skip
                return before
            if not ours and (self.out / name).exists():
                raise DataError(
                    f"{self.out / name}: is there already and no result; choose another folder"
                )
            contents, about = self.make(file, content, name)
        except (DataError, UsageError, TrainingError) as error:
            return row(str(file), str(name), error=first_line(error).removeprefix(f"{file}: "))
        self._remove_others(before, contents)
        for path, content in contents.items():
            make_folder((self.out / path).parent)
            replace_durably(self.out / path, content)
        return row(
            str(file), str(name), sha256, settings, round(perf_counter() - start, 3),
            [str(path) for path in contents], **about,
        )  # fmt: skip

    def _remove_others(self, before: R | None, contents: Mapping[Path, bytes]) -> None:
        """Remove what an earlier call wrote beside the result and this one does not."""
        for path in map(Path, [] if before is None else before.written):
            beside = path.parts[0] in self.OTHERS and ".." not in path.parts
            if beside and path not in contents:
                (self.out / path).unlink(missing_ok=True)

    def _done(self) -> tuple[dict[str, R], set[str] | None]:
        """What earlier calls have noted last, by the name of the result, and all that they wrote.

        Damaged lines count nothing; where there are any, nobody knows what was written: None.
        """
        if not self.record.is_file():
            return {}, set()
        rows: dict[str, R] = {}
        written: set[str] | None = set()
        kind: Any = self.ROW
        for line in self.record.read_text("utf-8", "replace").splitlines():
            try:
                row = kind(**json.loads(line))
                row.check()
            except (ValueError, TypeError, RecursionError, AttributeError):
                written = None
                continue
            rows[row.out] = row
            if written is not None:
                written |= {*row.written} if row.error else {row.out, *row.written}
        return rows, written

    def _note(self, row: R) -> None:
        try:
            with self.record.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":  # cut short by a crash
                        file.write(b"\n")
                file.write(json.dumps(asdict(row)).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise MachineError(f"{self.record}: cannot be written ({error.strerror})") from error


def beside(place: Path, name: Path) -> Path | None:
    """The picture in a folder that goes with a name, whatever its ending; or the one file."""
    if not is_folder(place):
        return place
    if (place / name).is_file():
        return place / name
    others = [(place / name).with_suffix(suffix) for suffix in sorted(PICTURE_SUFFIXES)]
    return next((path for path in others if path.is_file()), None)


def mean_of(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """How many pictures and errors there were, seconds in all, and means of numbers by name."""
    result: dict[str, Any] = {
        "pictures": len(rows), "errors": sum(bool(row.error) for row in rows),
        "seconds": round(sum(row.seconds for row in rows), 3),
    }  # fmt: skip
    for name in names:
        values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        if values:
            result[name] = sum(values) / len(values)
    return result


def likeness(true: Tensor, given: Tensor, made: Tensor) -> dict[str, float]:
    """PSNR in decibels and, of images that are large enough, SSIM with the true image.

    Args:
        true: float32 `[1, c, h, w]` in [0, 1].
        given: likewise; its numbers are called `psnr_before_db` and `ssim_before`.
        made: likewise; `psnr_db` and `ssim`.
    """
    numbers = {
        "psnr_before_db": psnr_db(true, given).item(), "psnr_db": psnr_db(true, made).item()
    }  # fmt: skip
    if min(true.shape[2:]) >= WINDOW:
        numbers |= {"ssim_before": ssim(true, given).item(), "ssim": ssim(true, made).item()}
    return {name: round(value, 4) for name, value in numbers.items()}


def sha256_of(file: Path) -> str:
    """The hash of a file's content.

    Raises:
        DataError: it cannot be read.
    """
    return hashlib.sha256(_content(file)).hexdigest()


def _content(file: Path) -> bytes:
    check_regular(file)
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
