"""Scores of single images by name: one number each, higher meaning further out of distribution."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import evaluation_batch, in_order
from anogen.data.images import Images, is_table
from anogen.detection.scores.adversarial import ADVERSARIAL_SCORES
from anogen.detection.scores.fused import FUSED, FUSED_SCORES, ROBUST
from anogen.detection.scores.latent import LATENT
from anogen.detection.scores.likelihood import LIKELIHOOD
from anogen.detection.scores.local import LOCAL
from anogen.detection.scores.pixels import PIXELS
from anogen.detection.scores.reconstruction import RECONSTRUCTION
from anogen.detection.scores.tables import TABLES
from anogen.detection.view import Prepared, Score, State, View, exactly, refuse_shape
from anogen.device import memory_advice
from anogen.models.base import Model
from anogen.progress import Progress

SIZES = (1, 4, 8, 16, 32, 64, 128)
"""Of views, smaller than a whole one, that are tried for few images."""
TRIALS = 4
"""Small views of each size, by which it is found out whether they give the same bits."""
FEW = 128
"""So many images may be looked at in a small view."""
LARGE = 48
"""Height and width of pictures that are looked at place by place, at least."""
LEARNT = "local_gaussian_learnt"
CHEAP = 10
"""A score of so many passes is worth trying small views, and calibrating beside another one."""

SCORES: dict[str, Score] = {
    FUSED: FUSED_SCORES[FUSED], **RECONSTRUCTION, **LIKELIHOOD, **LATENT, **ADVERSARIAL_SCORES,
    **PIXELS, **LOCAL, **TABLES, ROBUST: FUSED_SCORES[ROBUST],
}  # fmt: skip
"""Every score by name."""


def available(model: Model, companions: Sequence[Model] = ()) -> list[str]:
    """The names of the scores that the model can give, in the table's order.

    Args:
        model: of any kind.
        companions: other models to compare with.
    """
    return [
        name
        for name, score in SCORES.items()
        if score.fits(model)
        and score.companions <= len(companions)
        and (score.package is None or find_spec(score.package))
    ]


def usual_score(shape: tuple[int, int, int]) -> str:
    """The score that is used where none is named, for images of a shape or for tables.

    On pictures of 48×48 or more, a defect in one place counts for itself (benchmarks/parts.py);
    else all statistics count together.

    >>> usual_score((1, 28, 28)), usual_score((3, 128, 128))
    ('fused', 'local_gaussian_learnt')
    """
    return FUSED if is_table(shape) or min(shape[1:]) < LARGE else LEARNT


def fit_scores(
    model: Model, images: Images, names: Sequence[str], device: torch.device
) -> dict[str, State]:
    """What each score learns from in-distribution images; nothing for those that learn nothing."""
    states: dict[str, State] = {}
    before = np.random.get_state()
    try:
        for name in names:
            fit = SCORES[name].fit
            if fit is not None:
                with torch.no_grad():
                    states[name] = fit(model, images, device)
    finally:
        np.random.set_state(before)
    return states


def score_images(
    model: Model,
    images: Images,
    names: Sequence[str],
    device: torch.device,
    states: Mapping[str, State] | None = None,
    companions: Sequence[Model] = (),
) -> NDArray[np.float64]:
    """Scores in one pass: float64 `[n, len(names)]`; the same for the same image in any company.

    Args:
        model: any with the abilities that the scores need.
        images: of the model's shape.
        names: of scores.
        device: where to compute.
        states: what `fit_scores` gave, for the scores that learn.
        companions: other models, for the scores that compare.

    Raises:
        UsageError: images of another shape than the model's.
    """
    return score_prepared(Prepared.of(model, device, companions), images, names, states or {})


@torch.no_grad()
def score_prepared(
    prepared: Prepared, images: Images, names: Sequence[str], states: Mapping[str, State]
) -> NDArray[np.float64]:
    """As `score_images`, with models that are prepared already.

    Few images are looked at in a small view, where one gives the same bits as a whole one.
    """
    refuse_shape(prepared, images)

    def columns(view: View) -> NDArray[np.float64]:
        scores = [SCORES[name](view, states.get(name)).double().cpu() for name in names]
        return torch.stack(scores, 1).numpy()

    whole = evaluation_batch(images.shape)
    parts: list[NDArray[np.float64]] = []
    advice = memory_advice("score fewer or smaller images at a time, or use device cpu")
    with exactly(), advice, Progress(f"scoring {images.name}", len(images)) as bar:
        for x, _ in in_order(images, prepared.device):
            few = len(images) <= FEW and max(SCORES[name].passes for name in names) <= CHEAP
            size = smallest_view(prepared, x, tuple(names), columns) if few else whole
            parts.append(columns(prepared.view(x, size))[: len(x)])
            bar.advance(len(x))
    return np.concatenate(parts)


def smallest_view(
    prepared: Prepared,
    x: Tensor,
    names: tuple[str, ...],
    columns: Callable[[View], NDArray[np.float64]],
) -> int:
    """The smallest size of a view that holds these images and gives the bits that a whole one does.

    Libraries choose how to compute by the size of a batch, each processor in its own way; so this
    is tried, once, with images of noise and with these.
    """
    whole = evaluation_batch(prepared.model.shape)
    if names not in prepared.sizes:
        noise = torch.rand(whole, *prepared.model.shape, generator=torch.Generator().manual_seed(0))
        trial = torch.cat([x, noise.to(x)])[:whole]
        expected = columns(prepared.view(trial, whole))
        prepared.sizes[names] = [
            size
            for size in SIZES
            if size < whole
            and all(
                np.array_equal(columns(prepared.view(part, size)), expected[place : place + size])
                for place in range(0, min(whole, TRIALS * size), size)
                if len(part := trial[place : place + size]) == size
            )
        ] + [whole]
    return next(size for size in prepared.sizes[names] if size >= len(x))
