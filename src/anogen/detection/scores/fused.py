"""The fused score: how improbable an image's cheap scores, or a row's, are together.

Of pictures it is the −log density of all their statistics, by a mixture of Gaussians. Of tables,
whose few statistics all say how far out a row lies, it is the sum of their surprises.
"""

import torch
from torch import Tensor

from anogen.data.images import Images, is_table
from anogen.detection.density import Density
from anogen.detection.scores.surprises import (
    OUT_OF_FOLD,
    all_scores,
    fit_surprises,
    learnt,
    parts_of,
    scored,
    surprise,
)
from anogen.detection.view import Score, State, View, collect, kind_of
from anogen.device import fast_bfloat16
from anogen.models.base import Model

FUSED, ROBUST = "fused", "robust"
RESISTANT = ("isolation_forest", "robust_distance", "core_neighbours")
"""What outliers among the training rows change little."""
OWN = "density"
BFLOAT16 = "bfloat16"
"""Part of the state where statistics were measured in bfloat16 for the density, and always are."""
FEW = 40


def statistics(model: Model) -> list[str]:
    """The scores that a model's fused score is made of.

    Which of the cheap ones these are was chosen on changed validation images
    (benchmarks/fused_density.py), and of tables on anomalies made from training rows
    (benchmarks/table_members.py).
    """
    kind = kind_of(model)
    return [
        name for name, score in all_scores().items() if score.fused == kind and score.fits(model)
    ]


def measured(view: View, state: State) -> Tensor:
    """The statistics of a view, float64 `[b, statistics]` on the processor."""
    names = view.of_state(statistics, view.model)
    view = view.lightly if BFLOAT16 in state else view
    return scored(names, view, view.of_state(parts_of, state))


def density_of(state: State) -> Density:
    """The density of the statistics of pictures."""
    return Density.of(parts_of(state).get(OWN, {}))


def _fit(model: Model, images: Images, device: torch.device) -> State:
    """Of pictures, statistics learn from one half, their density from the other.

    Otherwise training images would be nearer to what was learnt from them than new ones are.
    Fewer than 40 images serve for both.
    """
    names = statistics(model)
    if is_table(model.shape):
        return fit_surprises(names, model, images, device)
    halves = len(images) >= FEW
    half, rest = (images[::2], images[1::2]) if halves else (images, images)
    state: State = {BFLOAT16: torch.tensor(True)} if fast_bfloat16(device) else {}
    state |= learnt(names, model, half, device)
    statistics_of_rest = collect(lambda view: measured(view, state), model, rest, device)
    density = Density.fit(statistics_of_rest.numpy()).state()
    return state | {f"{OWN}.{key}": value for key, value in density.items()}


def _fused(view: View, state: State) -> Tensor:
    if OUT_OF_FOLD in state:
        return surprise(view.of_state(statistics, view.model), view, state)
    density = view.of_state(density_of, state)
    return torch.from_numpy(density.surprise(measured(view, state).numpy()))


FUSED_SCORES = {
    FUSED: Score(
        _fused, (), "nats", "density of states estimation, Morningstar et al. 2021; of tables "
        "Fisher 1925", passes=1, fit=_fit,
    ),
    ROBUST: Score(
        lambda view, state: surprise(RESISTANT, view, state), (), "nats",
        "Fisher 1925, of scores that outliers among the training rows change little",
        fit=lambda model, images, device: fit_surprises(RESISTANT, model, images, device),
        only="tables",
    ),
}  # fmt: skip
