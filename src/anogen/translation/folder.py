"""Resumable folders of translated pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import to_bytes, to_unit
from anogen.data.picture_files import Picture
from anogen.data.pictures import Pictures
from anogen.errors import DataError
from anogen.results import FolderJob, Made, Row, beside, likeness, mean_of, sha256_of
from anogen.translation.translate import Domains

SAMPLES = "samples"
KEPT = ("dpi", "texts")
"""What is kept of what a file says; of colours and of turning it may be true no more."""
MEASURES = ("cycle_error", "psnr_before_db", "psnr_db", "ssim_before", "ssim")


@dataclass(frozen=True)
class TranslatedRow(Row):
    """What became of one picture.

    Attributes:
        source: the domain that it is from, as it was said or by how well it is reconstructed.
        cycle_error: absolute difference of the picture that was translated and back from the given
            one, mean over pixels, white 1.
        psnr_before_db: of the given picture against the true one, where there is one, decibels.
        psnr_db: of the translated one.
        ssim_before: structural similarity of the given picture with the true one.
        ssim: of the translated one.
    """

    source: str = ""
    cycle_error: float | None = None
    psnr_before_db: float | None = None
    psnr_db: float | None = None
    ssim_before: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class Job(FolderJob[TranslatedRow]):
    """Pictures to translate.

    Attributes:
        domains: the translator.
        pictures: how they are read.
        to: the number of the domain that they are to become.
        source: that of the domain that they are from; None: each is looked at.
        samples: further pictures of each.
        seed: of their draws.
        targets: a folder with the true pictures of that domain, of the same names; or None.
    """

    DONE: ClassVar[str] = "translated"
    DOING: ClassVar[str] = "translating"
    OTHERS: ClassVar[tuple[str, ...]] = (SAMPLES,)
    ROW: ClassVar[type[Row]] = TranslatedRow

    domains: Domains
    pictures: Pictures
    to: int
    source: int | None = None
    samples: int = 0
    seed: int = 0
    targets: Path | None = None

    @classmethod
    def find(cls, given: Sequence[str | Path], out: str | Path, **about: Any) -> "Job":
        """The pictures in files and folders, with a name for each result.

        Raises:
            DataError: something is missing, or no picture.
            UsageError: results would take the place of the pictures, or of one another.
        """
        job = cls(cls.find_files(given, Path(out)), Path(out), **about)
        if job.targets is not None and not job.targets.exists():
            raise DataError(f"{job.targets}: No such file or folder")
        targets = map(job.target, job.files.values())
        job.refuse_losses(path for path in targets if path is not None)
        return job

    def target(self, name: Path) -> Path | None:
        """The true picture of a name, where there is one."""
        return None if self.targets is None else beside(self.targets, name)

    def key(self, file: Path, name: Path) -> str:
        """The hash of the true picture."""
        del file
        target = self.target(name)
        return "" if target is None else sha256_of(target)[:16]

    def make(self, file: Path, content: bytes, name: Path) -> Made:
        """The translated picture with its samples, and its measures."""
        x = self.read(file, content)
        source = self.domains.source_of(x) if self.source is None else self.source
        with torch.no_grad():
            y, drawn = self.domains.translated(x, self.to, self.samples, self.seed)
            back, _ = self.domains.translated(y, source)
        form = form_of(Picture.of(content, file))
        contents = {name: form.content(to_pixels(y[0]))}
        for number, sample in enumerate(drawn, 1):
            contents[Path(SAMPLES, str(number), name)] = form.content(to_pixels(sample))
        about = {"source": self.domains.names[source],
                 "cycle_error": round((back - x).abs().mean().item(), 6)}  # fmt: skip
        target = self.target(name)
        return contents, about if target is None else about | likeness(self.read(target), x, y)

    def read(self, file: Path, content: bytes | None = None) -> Tensor:
        """A picture in the size and colours of the model, float32 `[1, c, h, w]` in [0, 1]."""
        return self.domains.brought(tensor_of(self.pictures.read(file, content)))


def form_of(picture: Picture) -> Picture:
    """What is kept of a file for its translation, which has other colours and another size."""
    return replace(picture, alpha=None, about={k: v for k, v in picture.about.items() if k in KEPT})


def tensor_of(pixels: NDArray[np.uint8]) -> Tensor:
    """A picture `[h, w, c]` as float32 `[1, c, h, w]` in [0, 1]."""
    return to_unit(torch.from_numpy(np.array(pixels.transpose(2, 0, 1)[None])))


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """uint8 `[h, w]` or `[h, w, 3]` of an image `[c, h, w]`."""
    pixels = to_bytes(x)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the pictures, with how many there were and how many could not be translated."""
    return mean_of(rows, MEASURES)
