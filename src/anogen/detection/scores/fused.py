"""The fused score: how improbable an image's cheap scores are together."""

from collections.abc import Mapping

import torch
from torch import Tensor

from anogen.data.images import Images
from anogen.detection.density import Density
from anogen.detection.view import Score, State, View, collect
from anogen.errors import MachineError
from anogen.models.base import GenerativeModel

FUSED = "fused"
MOST_PASSES = 2
"""A score that costs more than this is no part of the fused one."""


def statistics(scores: Mapping[str, Score], model: GenerativeModel) -> list[str]:
    """The scores that a model's fused score is made of: those that are cheap and learn nothing."""
    return [
        name
        for name, score in scores.items()
        if score.fits(model)
        and score.fit is None
        and score.passes <= MOST_PASSES
        and not score.companions
    ]


def measured(scores: Mapping[str, Score], view: View) -> Tensor:
    """The statistics of a view, float64 `[b, statistics]` on the processor."""
    names = statistics(scores, view.model)
    return torch.stack([scores[name](view, None).double().cpu() for name in names], 1)


def make_fused(scores: Mapping[str, Score]) -> Score:
    """The fused score of a table of scores."""

    def fit(model: GenerativeModel, images: Images, device: torch.device) -> State:
        found = collect(lambda view: measured(scores, view), model, images, device)
        return Density.fit(found.numpy()).state()

    def surprise(view: View, state: State) -> Tensor:
        density, values = Density.of(state), measured(scores, view).numpy()
        if len(density.mean) != values.shape[1]:
            raise MachineError(
                f"this detector knows {len(density.mean)} statistics, this version of anogen "
                f"{values.shape[1]}; calibrate again with anogen detect"
            )
        return torch.from_numpy(density.surprise(values))

    return Score(
        surprise, (), "−log density, nats",
        "density of states estimation, Morningstar et al. 2021", passes=MOST_PASSES, fit=fit,
    )  # fmt: skip
