"""Scores of single images by name: one number each, higher meaning further out of distribution."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.data.images import Images
from anogen.detection.scores.adversarial import ADVERSARIAL_SCORES
from anogen.detection.scores.fused import FUSED, make_fused
from anogen.detection.scores.latent import LATENT
from anogen.detection.scores.likelihood import LIKELIHOOD
from anogen.detection.scores.pixels import PIXELS
from anogen.detection.scores.reconstruction import RECONSTRUCTION
from anogen.detection.view import Score, State, exactly, views
from anogen.device import memory_advice
from anogen.models.base import GenerativeModel
from anogen.progress import Progress

SCORES: dict[str, Score] = {}
"""Every score by name."""
SCORES[FUSED] = make_fused(SCORES)
for _table in (RECONSTRUCTION, LIKELIHOOD, LATENT, ADVERSARIAL_SCORES, PIXELS):
    SCORES.update(_table)


def available(model: GenerativeModel, companions: Sequence[GenerativeModel] = ()) -> list[str]:
    """The names of the scores that the model can give, in the table's order.

    Args:
        model: of any kind.
        companions: other models to compare with.
    """
    return [
        name
        for name, score in SCORES.items()
        if score.fits(model) and score.companions <= len(companions)
    ]


def fit_scores(
    model: GenerativeModel, images: Images, names: Sequence[str], device: torch.device
) -> dict[str, State]:
    """What each score learns from in-distribution images; nothing for those that learn nothing."""
    found: dict[str, State] = {}
    before = np.random.get_state()
    try:
        for name in names:
            fit = SCORES[name].fit
            if fit is not None:
                with torch.no_grad():
                    found[name] = fit(model, images, device)
    finally:
        np.random.set_state(before)
    return found


@torch.no_grad()
def score_images(
    model: GenerativeModel,
    images: Images,
    names: Sequence[str],
    device: torch.device,
    states: Mapping[str, State] | None = None,
    companions: Sequence[GenerativeModel] = (),
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
    states = states or {}
    parts: list[NDArray[np.float64]] = []
    advice = memory_advice("score fewer or smaller images at a time, or use device cpu")
    with exactly(), advice, Progress(f"scoring {images.name}", len(images)) as bar:
        for view, count in views(model, images, device, companions):
            columns = [SCORES[name](view, states.get(name)).double().cpu() for name in names]
            parts.append(torch.stack(columns, 1)[:count].numpy())
            bar.advance(count)
    return np.concatenate(parts)
