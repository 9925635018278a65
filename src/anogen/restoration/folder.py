"""Resumable folders of restored pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from anogen.data.array_layout import Layout
from anogen.data.picture_files import Picture
from anogen.errors import DataError
from anogen.restoration.restore import Restored
from anogen.results import FolderJob, Made, Row, beside, likeness, mean_of, sha256_of

SAMPLES, LOW, HIGH = "samples", "low", "high"
"""The folders, beside the results, of further pictures that could have been, and of the ends of the
intervals."""
ROUNDING = 0.5 / 255
"""Half a grey level: the ends of intervals are rounded to whole ones."""
Restore = Callable[[NDArray[Any], NDArray[Any] | None], Restored]
"""Pixels `[h, w]` or `[h, w, 3]` and the mask of what is missing, `[h, w]` → what may have been."""
MEASURES = ("psnr_before_db", "psnr_db", "ssim_before", "ssim", "coverage")


@dataclass(frozen=True)
class RestoredRow(Row):
    """What became of one picture.

    Attributes:
        psnr_before_db: of the given picture against the original, where there is one, decibels.
        psnr_db: of the restored one.
        ssim_before: structural similarity of the given picture with the original.
        ssim: of the restored one.
        coverage: share of the original's pixels that lie in their intervals.
    """

    psnr_before_db: float | None = None
    psnr_db: float | None = None
    ssim_before: float | None = None
    ssim: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Job(FolderJob[RestoredRow]):
    """Pictures to restore.

    Attributes:
        restore: does it.
        masks: a picture of what is missing, white where it is, or a folder with one of the same
            name for each picture; or None.
        originals: a folder with undamaged pictures of the same names, or one such file; or None.
    """

    DONE: ClassVar[str] = "restored"
    DOING: ClassVar[str] = "restoring"
    OTHERS: ClassVar[tuple[str, ...]] = (LOW, HIGH, SAMPLES)
    ROW: ClassVar[type[Row]] = RestoredRow

    restore: Restore
    masks: Path | None = None
    originals: Path | None = None

    @classmethod
    def find(
        cls,
        given: Sequence[str | Path],
        out: str | Path,
        restore: Restore,
        masks: str | Path | None = None,
        originals: str | Path | None = None,
    ) -> "Job":
        """The pictures in files and folders, with a name for each result.

        Raises:
            DataError: something is missing, or no picture.
            UsageError: results would take the place of the pictures, or of one another.
        """
        files = cls.find_files(given, Path(out))
        for path in (masks, originals):
            if path is not None and not Path(path).exists():
                raise DataError(f"{path}: No such file or folder")
        job = cls(files, Path(out), restore, None if masks is None else Path(masks),
                  None if originals is None else Path(originals))  # fmt: skip
        places = [place for place in (job.masks, job.originals) if place is not None]
        others = [beside(place, name) for place in places for name in files.values()]
        job.refuse_losses(path for path in others if path is not None)
        return job

    def key(self, file: Path, name: Path) -> str:
        """The hashes of the mask and of the original."""
        paths = self._mask(file, name), self._original(name)
        return "".join("" if path is None else sha256_of(path)[:16] for path in paths)

    def make(self, file: Path, content: bytes, name: Path) -> Made:
        """The restored picture with its samples and intervals, and its measures."""
        picture = Picture.of(content, file)
        mask, original = self._mask(file, name), self._original(name)
        pixels = None if original is None else _like(original, picture.pixels)
        missing = None if mask is None else Picture.read(mask).as_mask()
        found = self.restore(picture.pixels, missing)
        contents = {name: picture.content(found.images)}
        for number, sample in enumerate([] if found.samples is None else found.samples, 1):
            contents[Path(SAMPLES, str(number), name)] = picture.content(sample)
        for end, values in ((LOW, found.low), (HIGH, found.high)):
            if values is not None:
                contents[Path(end, name)] = picture.content(values)
        return contents, {} if pixels is None else _measured(pixels, picture.pixels, found)

    def _mask(self, file: Path, name: Path) -> Path | None:
        """Where pixels of a picture are missing."""
        mask = None if self.masks is None else beside(self.masks, name)
        if self.masks is not None and mask is None:
            raise DataError(f"{file}: there is no mask for it in {self.masks}")
        return mask

    def _original(self, name: Path) -> Path | None:
        """The undamaged picture, where there is one."""
        return None if self.originals is None else beside(self.originals, name)


def _like(path: Path, given: NDArray[Any]) -> NDArray[Any]:
    """The pixels of an original."""
    original = Picture.read(path).pixels
    if original.shape != given.shape:
        raise DataError(f"{path}: of shape {list(original.shape)}, the damaged picture has "
                        f"{list(given.shape)}")  # fmt: skip
    return original


def _measured(original: NDArray[Any], given: NDArray[Any], found: Restored) -> dict[str, float]:
    x, y, z = (Layout.read(array)[1] for array in (original, given, found.images))
    numbers = likeness(x, y, z)
    if found.low is not None and found.high is not None:
        low, high = (Layout.read(end)[1] for end in (found.low, found.high))
        inside = (low - ROUNDING <= x) & (x <= high + ROUNDING)
        numbers["coverage"] = round(inside.double().mean().item(), 4)
    return numbers


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the pictures, with how many there were and how many could not be restored."""
    return mean_of(rows, MEASURES)
