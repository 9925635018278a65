"""New images for texts: drawn, and where that is wanted chosen among several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor

from anogen.data.batches import evaluation_batch, in_order
from anogen.data.images import Images
from anogen.errors import UsageError, finite_number, whole_number
from anogen.models.base import GenerativeModel, HasLikeness, Model, Sampler

MOST_TEXTS = 1000
"""That one text with alternatives in braces may stand for."""


@dataclass(frozen=True)
class Asking:
    """How images are drawn for texts.

    Attributes:
        seed: of the draws: the same seed gives the same latents, whatever the texts are.
        sampler: of the latents; None: the model's own.
        guidance: see `GenerativeModel.sample`.
        best_of: how many images are drawn for each text; the one is kept that, as the model itself
            judges, fits the text best (Ramesh et al. 2021, section 2.4).

    Raises:
        UsageError: `best_of` is not positive.
    """

    seed: int = 0
    sampler: Sampler | None = None
    guidance: float = 1.0
    best_of: int = 1

    def __post_init__(self) -> None:
        finite_number("guidance", self.guidance)
        if whole_number("best_of", self.best_of) < 1:
            raise UsageError(f"best_of must be at least 1, found {self.best_of}")


AS_LEARNT = Asking()
"""One draw for each text, by the model's own sampler."""


def sample_texts(model: GenerativeModel, texts: Sequence[str], how: Asking = AS_LEARNT) -> Tensor:
    """One new image for each text.

    Args:
        model: in evaluation mode; it takes texts.
        texts: what is asked for; an empty one stands for anything.
        how: they are drawn.

    Returns:
        float `[n, c, h, w]` in [0, 1], on the model's device.

    Raises:
        UsageError: the model takes no texts.
    """
    tokens, size = model.asked(texts), evaluation_batch(model.shape)
    generator = torch.Generator().manual_seed(how.seed)
    with torch.inference_mode():
        return torch.cat([_drawn(model, part, generator, how) for part in tokens.split(size)])


def _drawn(model: GenerativeModel, tokens: Tensor, generator: Generator, how: Asking) -> Tensor:
    vector, best, fit = model.condition(tokens), None, None
    for _ in range(how.best_of):
        drawn = model.sample(len(tokens), generator, vector, how.sampler, guidance=how.guidance)
        if how.best_of == 1:
            return drawn
        assert isinstance(model, HasLikeness)  # all that take texts are
        assert vector is not None
        fits = model.likeness(drawn, vector).diagonal()
        if best is None or fit is None:
            best, fit = drawn, fits
            continue
        better = fits > fit
        best, fit = torch.where(better[:, None, None, None], drawn, best), fits.maximum(fit)
    assert best is not None
    return best


def likeness(model: Model, images: Images, condition: Tensor) -> Tensor:
    """How well each image fits each text: cosines, float32 `[n, m]`, on the processor.

    Args:
        model: in evaluation mode; it takes texts.
        images: of its shape.
        condition: tokens `[m, length]`, or their vectors.

    Raises:
        UsageError: the model takes no texts.
    """
    if not (model.takes_text and isinstance(model, HasLikeness)):
        raise UsageError(f"this {type(model).__name__} takes no texts, so that it cannot tell how "
                         "well pictures fit them; train one with --preset text")  # fmt: skip
    device = next(model.parameters()).device
    with torch.inference_mode():
        vector = model.condition(condition.to(device))
        assert vector is not None
        return torch.cat([model.likeness(x, vector).cpu() for x, _ in in_order(images, device)])


def spelt_out(text: str) -> list[str]:
    """All that a text with alternatives in braces stands for, the last brace changing fastest.

    Raises:
        UsageError: a brace that is not closed, or more than a thousand texts.

    Examples:
        >>> spelt_out("a {red,green} {7,8}")
        ['a red 7', 'a red 8', 'a green 7', 'a green 8']
    """
    parts = re.split(r"\{([^{}]*)\}", text)
    if any("{" in part or "}" in part for part in parts[::2]):
        raise UsageError(f"{text!r}: a brace that is not closed, or opened; braces hold "
                         "alternatives, as in 'a {red,green} seven'")  # fmt: skip
    choices = [
        [word.strip() for word in part.split(",")] if place % 2 else [part]
        for place, part in enumerate(parts)
    ]
    count = 1
    for each in choices:
        count *= len(each)
    if count > MOST_TEXTS:
        raise UsageError(f"{text!r} stands for {count:,} texts; {MOST_TEXTS:,} are the most")
    return ["".join(words) for words in product(*choices)]
