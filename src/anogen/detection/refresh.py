"""Examples that were approved after training: kept with a run, and part of its calibration."""

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images, is_table
from anogen.data.splits import Splits, joined
from anogen.durable import read_regular, replace_durably
from anogen.errors import DataError, MachineError, first_line
from anogen.run import Run

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


def with_more(run: Run, images: Images) -> tuple[Images, int]:
    """What was approved so far and more, each example once; and how many of these are new.

    Raises:
        DataError: they have another shape than the run's, or are too many.
    """
    shape = tuple(run.environment["data"]["shape"])
    if images.shape != shape:
        raise DataError(f"{images.name}: examples of {images.shape}, the run has {shape}")
    before = approved(run)
    known = [] if before is None else [np.asarray(before.pixels[:])]
    rows = np.concatenate([*known, np.asarray(images.pixels[:])])
    _, first = np.unique([row.tobytes() for row in rows], return_index=True)
    kept = rows[np.sort(first)]
    if kept.nbytes > MOST_BYTES // 2:
        raise DataError(f"{images.name}: more than a run keeps; train again, with them")
    return Images(kept, "approved"), len(kept) - (0 if before is None else len(before))


def keep_approved(run: Run, examples: Images) -> None:
    """Write all that is approved into the run's folder.

    Raises:
        MachineError: it cannot be written.
    """
    content = io.BytesIO()
    np.save(content, np.asarray(examples.pixels[:]))
    replace_durably(run.inside(FILE), content.getvalue())


def with_approved(data: Splits, examples: Images | None) -> Splits:
    """A run's data with what was approved since: learnt from, and each fifth held out.

    The test images stay as they are.
    """
    if examples is None:
        return data
    held_out = np.arange(len(examples)) % EVERY == EVERY - 1

    def added(own: Images, rows: NDArray[np.bool_]) -> Images:
        return joined([_plain(own), examples[np.flatnonzero(rows)]]) if rows.any() else own

    train = added(data.train, ~held_out)
    validation = train if data.validation is data.train else added(data.validation, held_out)
    return replace(data, train=train, validation=validation)


def _plain(images: Images) -> Images:
    """The images without labels and captions, which approved ones do not have."""
    return replace(images, labels=None, classes=(), captions=None)
