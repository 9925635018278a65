"""The fused score: how improbable an image's cheap scores are together."""

from collections.abc import Mapping

import torch
from torch import Tensor

from anogen.data.images import Images
from anogen.detection.density import Density
from anogen.detection.view import Score, State, View, collect
from anogen.device import fast_bfloat16
from anogen.models.base import GenerativeModel

FUSED = "fused"
OWN = "density"
BFLOAT16 = "bfloat16"
"""Part of the state where statistics were measured in bfloat16 for the density, and always are."""
FEW = 40


def statistics(model: GenerativeModel) -> list[str]:
    """The scores that a model's fused score is made of.

    Which of the cheap ones these are was chosen on changed validation images:
    benchmarks/fused_density.py.
    """
    return [name for name, score in _table().items() if score.fused and score.fits(model)]


def measured(view: View, state: State) -> Tensor:
    """The statistics of a view, float64 `[b, statistics]` on the processor."""
    names, scores = view.of_state(statistics, view.model), _table()
    view = view.lightly if BFLOAT16 in state else view
    parts = view.of_state(parts_of, state)
    columns = [scores[name](view, parts.get(name, {})).double().cpu() for name in names]
    return torch.stack(columns, 1)


def parts_of(state: State) -> dict[str, State]:
    """What each statistic has learnt, and the density of all, by name."""
    parts: dict[str, State] = {}
    for key, value in state.items():
        name, _, own = key.partition(".")
        parts.setdefault(name, {})[own] = value
    return parts


def density_of(state: State) -> Density:
    """The density of the statistics."""
    return Density.of(parts_of(state).get(OWN, {}))


def _fit(model: GenerativeModel, images: Images, device: torch.device) -> State:
    """Statistics learn from one half, their density from the other.

    Otherwise training images would be nearer to what was learnt from them than new ones are.
    Fewer than 40 images serve for both.
    """
    halves = len(images) >= FEW
    half, rest = (images[::2], images[1::2]) if halves else (images, images)
    state: State = {BFLOAT16: torch.tensor(True)} if fast_bfloat16(device) else {}
    for name in statistics(model):
        learn = _table()[name].fit
        learnt = {} if learn is None else learn(model, half, device)
        state |= {f"{name}.{key}": value for key, value in learnt.items()}
    statistics_of_rest = collect(lambda view: measured(view, state), model, rest, device)
    learnt = Density.fit(statistics_of_rest.numpy()).state()
    return state | {f"{OWN}.{key}": value for key, value in learnt.items()}


def _surprise(view: View, state: State) -> Tensor:
    density = view.of_state(density_of, state)
    return torch.from_numpy(density.surprise(measured(view, state).numpy()))


def _table() -> Mapping[str, Score]:
    """All scores, this one among them."""
    from anogen.detection.scores import SCORES

    return SCORES


FUSED_SCORE = Score(
    _surprise, (), "−log density, nats",
    "density of states estimation, Morningstar et al. 2021", passes=1, fit=_fit,
)  # fmt: skip
