"""What a run kept while it trained, as pictures: curves against epochs, samples of epochs."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from anogen.data.images import Pixels
from anogen.durable import read_regular
from anogen.errors import MachineError
from anogen.report import figures
from anogen.report.gallery import Picture
from anogen.run import Run

MOST = 12
"""Curves; a model has a few players and one squared error."""
NAME = re.compile(r"epoch_\d{1,9}\.png")


def training_curves(rows: list[dict[str, Any]]) -> list[Picture]:
    """Every player's loss and the squared error against epochs, for training and held-out images.

    The paper's figures 5 and 7.
    """
    prefix = "validation_"
    columns = [name.removeprefix(prefix) for name in (rows[0] if rows else ())
               if name.startswith(prefix)]  # fmt: skip
    shown = [c for c in columns if c.startswith("loss_") or c.endswith("squared_error")][:MOST]
    return [_curve(rows, column) for column in shown]


def _curve(rows: list[dict[str, Any]], column: str) -> Picture:
    loss = column.startswith("loss_")
    label = f"loss of the player {column[5:]}" if loss else "squared error of a posterior sample"
    title = f"{label[0].upper()}{label[1:]} against epochs"
    lines = {
        f"train_{column}": "training images, evaluation mode",
        f"validation_{column}": "held-out images, evaluation mode",
        f"running_{column}": "training images, while training",
    }
    caption = (
        f"The {label}, mean per image, after each epoch. The curve 'while training' is a mean over "
        "the epoch with batch statistics, so it lies apart from the two others, which compare like "
        "with like."
    )
    return Picture(f"{column}_curve", title, caption, figures.curves(rows, lines, title, label))


def samples_by_epoch(run: Run) -> list[Picture]:
    """Samples from the same latents after some of the epochs, as training kept them; or none."""
    folder = run.inside("samples")
    paths = sorted(p for p in folder.glob("epoch_*.png") if NAME.fullmatch(p.name))
    for path in paths:
        run.inside("samples", path.name)
    if len(paths) < 2:
        return []
    last = len(paths) - 1
    shown = [paths[i] for i in sorted({round(last * (k / 7) ** 2) for k in range(8)})]
    _, height, width = run.environment["data"]["shape"]
    rows = [_first_row(path, height, width) for path in shown]
    epochs = [int(path.stem.removeprefix("epoch_")) for path in shown]
    return [
        Picture(
            "samples_by_epoch",
            "Samples while it learns",
            "Each column decodes one latent (or restores one damaged image), the same in all rows; "
            "a row is an epoch.",
            figures.mosaic(np.stack(rows), labels=[f"epoch {epoch}" for epoch in epochs]),
        )
    ]


def _first_row(path: Path, height: int, width: int) -> Pixels:
    """The first row of images of a grid that training kept: uint8 `[n, c, h, w]`."""
    try:
        with PIL.Image.open(io.BytesIO(read_regular(path)), formats=("PNG",)) as picture:
            sheet = np.atleast_3d(np.asarray(picture))[:height]
        columns = sheet.reshape(height, -1, width, sheet.shape[2])
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise MachineError(f"{path}: damaged picture; remove it") from error
    return columns.transpose(1, 3, 0, 2)
