"""Pictures in every domain and back again, as a page."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anogen.durable import replace_durably
from anogen.errors import DataError, UsageError
from anogen.report.page import render
from anogen.report.thumbnail import thumbnail
from anogen.translation.folder import Job, TranslatedRow, to_pixels

SHOWN = 24
"""Pictures on a page, the worst first."""
LEAST = 128
"""Pixels that a picture has on the page at least: six stand in a row."""
LOST_TIMES = 4
"""How much brighter than it is what was lost is shown."""


@dataclass(frozen=True)
class _Shown:
    """A row of the page: names and addresses of pictures."""

    row: TranslatedRow
    pictures: list[tuple[str, str]]


def write_page(job: Job, rows: Sequence[TranslatedRow], result: dict[str, Any], run: str) -> Path:
    """Write the page into the folder of results; returns its path.

    Args:
        job: that was done.
        rows: what became of each picture.
        result: the means, from `summary`.
        run: its name.
    """
    good = [row for row in rows if not row.error]
    good.sort(key=lambda row: (row.ssim or 0.0, -(row.cycle_error or 0.0)))
    html = render(
        "translated.html.j2", run=run, to=job.domains.names[job.to], result=result,
        shown=list(_shown(job, good)), left=max(0, len(good) - SHOWN), lost_times=LOST_TIMES,
        errors=[row for row in rows if row.error],
    )  # fmt: skip
    replace_durably(job.page, html.encode())
    return job.page


def _shown(job: Job, rows: Sequence[TranslatedRow]) -> Iterator[_Shown]:
    for row in rows[:SHOWN]:
        with suppress(DataError, UsageError):  # it may have gone since, and its domain too
            x = job.read(Path(row.file))
            everywhere = job.domains.everywhere(x)
            with torch.no_grad():
                (back,), _ = job.domains.translated(
                    everywhere[job.to, None], job.domains.number(row.source)
                )
            lost = (LOST_TIMES * (back - x[0]).abs()).clamp(max=1)
            pictures = {"given": x[0]}
            names = zip(job.domains.names, everywhere, strict=True)
            pictures |= {f"as {name}": image for name, image in names}
            target = job.target(Path(row.out))
            pictures |= {} if target is None else {"true": job.read(target)[0]}
            pictures |= {f"back from {job.domains.names[job.to]}": back, "lost": lost}
            yield _Shown(
                row,
                [(name, thumbnail(to_pixels(image), LEAST)) for name, image in pictures.items()],
            )
