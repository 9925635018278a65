"""Pictures of what texts give."""

import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor

from anogen.data.batches import to_bytes
from anogen.errors import UsageError
from anogen.models.asking import AS_LEARNT, Asking, sample_texts
from anogen.models.base import GenerativeModel
from anogen.report import figures
from anogen.report.gallery import Picture

LINE = 34
"""Letters of a caption in a line of a picture."""
MOST_ROWS = 40
"""Of texts in one picture."""


def asked_picture(
    model: GenerativeModel, texts: Sequence[str], count: int = 8, how: Asking = AS_LEARNT
) -> Picture:
    """A row of new images for each text, drawn alike in each row.

    Args:
        model: in evaluation mode; it takes texts.
        texts: what is asked for, 40 at most.
        count: images for each.
        how: they are drawn.

    Raises:
        UsageError: too many texts, or the model takes none.
    """
    if len(texts) > MOST_ROWS:
        raise UsageError(f"{len(texts)} texts are too many for one picture; {MOST_ROWS} are the "
                         "most, and --out FOLDER/ writes each image by itself")  # fmt: skip
    rows = [sample_texts(model, [text] * count, how) for text in texts]
    several = how.best_of > 1
    which = (
        f"each is the best of {how.best_of}, as the model judges"
        if several
        else "a column has the same latents"
    )
    return Picture(
        "asked",
        "What texts give",
        f"New images for the text at the left of each row; {which}.",
        figures.mosaic(to_bytes(torch.stack(rows)), labels=[wrapped(text) for text in texts]),
    )


def between_picture(
    model: GenerativeModel, texts: Sequence[str], count: int = 9, *, rows: int = 4, seed: int = 0
) -> Picture:
    """From one text to another in equal steps, in each row with other latents.

    Args:
        model: in evaluation mode; it takes texts.
        texts: two.
        count: steps, the ends among them.
        rows: how many.
        seed: of the latents.

    Raises:
        UsageError: not two texts, or fewer than two steps.
    """
    if len(texts) != 2 or count < 2:
        raise UsageError(f"between needs two texts and two steps at least, found {len(texts)} and "
                         f"{count}")  # fmt: skip
    shares = torch.linspace(0, 1, count)
    with torch.inference_mode():
        start, end = model.condition(model.asked(texts)).unsqueeze(1)  # pyright: ignore
        vectors = torch.lerp(start, end, shares[:, None].to(start.device))
        sheet = [_with(model, vectors, seed + row) for row in range(rows)]
    return Picture(
        "between",
        "Between two texts",
        f"From {texts[0]!r} at the left to {texts[1]!r} at the right, in equal steps between the "
        "vectors of the texts; each row has latents of its own.",
        figures.mosaic(to_bytes(torch.stack(sheet))),
    )


def _with(model: GenerativeModel, vectors: Tensor, seed: int) -> Tensor:
    """Images of vectors, all with the same latents."""
    parts = [model.sample(1, torch.Generator().manual_seed(seed), vector[None])
             for vector in vectors]  # fmt: skip
    return torch.cat(parts)


def wrapped(text: str) -> str:
    """A text in lines that fit beside pictures, four at most.

    >>> wrapped("a " * 20).count(chr(10))
    1
    """
    lines = textwrap.wrap(text, LINE) or ["(no text)"]
    return "\n".join(
        [*lines[:3], " ".join(lines[3:])[: LINE - 1] + "…"] if len(lines) > 4 else lines
    )
