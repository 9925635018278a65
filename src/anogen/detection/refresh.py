"""Examples that were approved after training: kept with a run, and part of its calibration."""

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images, is_table
from anogen.data.splits import Splits, joined
from anogen.durable import read_regular, replace_durably
from anogen.errors import DataError, MachineError, first_line
from anogen.run import Run

if TYPE_CHECKING:
    from anogen.detection.detector import Detector

FILE = "approved.npy"
EVERY = 5
"""Of the approved examples, each fifth is held out for the calibration."""
MOST_BYTES = 1 << 31


def approved(run: Run) -> Images | None:
    """What was approved so far; None: nothing.

    Raises:
        MachineError: the file is damaged.
    """
    path = run.inside(FILE)
    if not path.exists():
        return None
    try:
        content = read_regular(path, MOST_BYTES)
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        raise MachineError(f"{path}: damaged ({first_line(error)}); remove it") from error
    shape = tuple(run.environment["data"]["shape"])
    kind = np.float32 if is_table(shape) else np.uint8
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != shape or pixels.dtype != kind:
        raise MachineError(f"{path}: damaged, it does not hold examples of {shape}; remove it")
    return Images(pixels, "approved")


def approve(run: Run, images: Images) -> int:
    """Keep approved examples with the run; how many of them are new.

    Raises:
        DataError: they have another shape than the run's.
        MachineError: the run's folder cannot be written.
    """
    shape = tuple(run.environment["data"]["shape"])
    if images.shape != shape:
        raise DataError(f"{images.name}: examples of {images.shape}, the run has {shape}")
    before = approved(run)
    known = [] if before is None else [np.asarray(before.pixels[:])]
    rows = np.concatenate([*known, np.asarray(images.pixels[:])])
    _, first = np.unique([row.tobytes() for row in rows], return_index=True)
    kept = rows[np.sort(first)]
    content = io.BytesIO()
    np.save(content, kept)
    replace_durably(run.inside(FILE), content.getvalue())
    return len(kept) - (0 if before is None else len(before))


def with_approved(run: Run, data: Splits) -> Splits:
    """A run's data with what was approved since: learnt from, and each fifth held out.

    The test images stay as they are.
    """
    more = approved(run)
    if more is None:
        return data
    held_out = np.arange(len(more)) % EVERY == EVERY - 1

    def added(own: Images, rows: NDArray[np.bool_]) -> Images:
        return joined([_plain(own), more[np.flatnonzero(rows)]]) if rows.any() else own

    train = added(data.train, ~held_out)
    validation = train if data.validation is data.train else added(data.validation, held_out)
    return replace(data, train=train, validation=validation)


def _plain(images: Images) -> Images:
    """The images without labels and captions, which approved ones do not have."""
    return replace(images, labels=None, classes=(), captions=None)


def refresh(
    run: Run, images: Images, score: str | None = None, *, data_dir: str | Path | None = None,
    device: str = "auto",
) -> "Detector":  # fmt: skip
    """Let a run's detector learn from examples that were approved as good, and calibrate it anew.

    The model stays as it is; what the score has learnt is learnt again, from the training images
    and four fifths of all that was ever approved; a fifth is held out for the calibration, with the
    validation images. Other detectors of the run are removed, and made again when they are needed.

    Args:
        run: a trained one.
        images: approved, of the model's shape.
        score: of the detector; default: the usual one.
        data_dir: where data sets lie.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        DataError: the run's data is not there, or the examples do not fit.
        UsageError: the model cannot give the score.
    """
    from anogen.detection.detector import Detector

    approve(run, images)
    return Detector.of_run(run, score, data_dir=data_dir, device=device, again=True)
