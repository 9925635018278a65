"""Restored pictures beside the given ones, as a page."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.durable import replace_durably
from anogen.errors import DataError
from anogen.report.gallery import data_uri
from anogen.report.page import render
from anogen.restoration.files import Picture
from anogen.restoration.folder import PAGE, Job, Row

SHOWN = 24
"""Pictures on a page, the worst first."""
CROP = 300
"""Of larger pictures the middle is shown, so many pixels high and wide, at their own size."""
LEAST = 160
"""Smaller ones are shown enlarged to at least so many."""


def write_page(job: Job, rows: Sequence[Row], result: dict[str, Any], title: str) -> Path:
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
    path = job.out / PAGE
    replace_durably(path, html.encode())
    return path


def _pictures(job: Job, row: Row) -> list[tuple[str, str]]:
    """Names and addresses of the pictures of one row."""
    paths = {"given": Path(row.file), "restored": job.out / row.out}
    if job.originals is not None:
        original = job.beside(job.originals, Path(row.out))
        paths |= {} if original is None else {"original": original}
    shown: list[tuple[str, str]] = []
    for name, path in paths.items():
        with suppress(DataError):  # it may have gone since
            shown.append((name, data_uri(_png(Picture.read(path).pixels))))
    return shown


def _png(pixels: NDArray[Any]) -> bytes:
    import io

    from PIL import Image

    grey = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    height, width = grey.shape[:2]
    top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
    picture = Image.fromarray(grey[top : top + CROP, left : left + CROP])
    times = max(1, -(-LEAST // max(picture.size)))
    if times > 1:
        picture = picture.resize((picture.width * times, picture.height * times), 0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
