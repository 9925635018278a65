"""Restored pictures beside the given ones, as a page."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from anogen.data.picture_files import Picture
from anogen.durable import replace_durably
from anogen.errors import DataError
from anogen.report.page import render
from anogen.report.thumbnail import thumbnail
from anogen.restoration.folder import Job, RestoredRow
from anogen.results import beside

SHOWN = 24
"""Pictures on a page, the worst first."""


def write_page(job: Job, rows: Sequence[RestoredRow], result: dict[str, Any], title: str) -> Path:
    """Write the page into the folder of results; returns its path.

    Args:
        job: that was done.
        rows: what became of each picture.
        result: the means, from `summary`.
        title: what restored them.
    """
    good = [row for row in rows if not row.error]
    good.sort(key=lambda row: np.inf if row.psnr_db is None else row.psnr_db)
    shown = [{"row": row, "pictures": _pictures(job, row)} for row in good[:SHOWN]]
    html = render(
        "restored.html.j2", title=title, result=result, shown=shown, left=len(good) - len(shown),
        errors=[row for row in rows if row.error],
    )  # fmt: skip
    replace_durably(job.page, html.encode())
    return job.page


def _pictures(job: Job, row: RestoredRow) -> list[tuple[str, str]]:
    """Names and addresses of the pictures of one row."""
    paths = {"given": Path(row.file), "restored": job.out / row.out}
    if job.originals is not None:
        original = beside(job.originals, Path(row.out))
        paths |= {} if original is None else {"original": original}
    shown: list[tuple[str, str]] = []
    for name, path in paths.items():
        with suppress(DataError):  # it may have gone since
            shown.append((name, thumbnail(Picture.read(path).pixels)))
    return shown
