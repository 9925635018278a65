"""Several scores of one row as one: the sum of their surprises, learnt by cross-fitting."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.images import Images
from anogen.detection.scores.tables import twice_the_rank
from anogen.detection.view import Score, State, View, collect
from anogen.models.base import Model

OUT_OF_FOLD = "out_of_fold"
"""Part of the state: the scores of the training rows, float64 `[n, scores]`."""
COMPARED = "compared"
"""Part of the state: training rows with which explanations compare, float32 `[n, columns]`."""
MOST_COMPARED = 1000
FOLDS = (5, 10)
"""As many as rows allow: what is learnt from fewer rows calls new rows a little further out."""
FOLDED_ROWS = 20_000
"""Rows times folds, above the least number of folds."""
TINY = 1e-12
DIGITS, LARGE = 1e8, 1e6
"""Scores below the second number are rounded to a share of one over the first."""


def fit_surprises(
    names: Sequence[str], model: Model, images: Images, device: torch.device
) -> State:
    """What each score learns from all rows, and by cross-fitting what is usual of it.

    Each part of the rows is scored by what was learnt from the others, equal rows in one part;
    fewer than four rows by what was learnt from them. So the promise of a calibration on these
    scores is kept about, not exactly: the final score has learnt from a few rows more.
    """
    group_of = groups_of(images)
    groups = int(group_of.max()) + 1
    folds = min(folds_of(len(images)), max(1, groups // 2))
    fold_of = (np.random.default_rng(0).permutation(groups) % folds)[group_of]
    apart = torch.zeros(len(images), len(names), dtype=torch.float64)
    for fold in range(folds):
        held_out = fold_of == fold
        others = images[np.flatnonzero(~held_out | (folds == 1))]
        parts = parts_of(learnt(names, model, others, device))
        apart[torch.from_numpy(held_out)] = collect(
            lambda view, parts=parts: scored(names, view, parts),
            model, images[np.flatnonzero(held_out)], device,
        )  # fmt: skip
    compared = torch.from_numpy(np.array(images.evenly(MOST_COMPARED).pixels[:]))
    return learnt(names, model, images, device) | {
        OUT_OF_FOLD: apart, COMPARED: compared.flatten(1)
    }  # fmt: skip


def groups_of(images: Images) -> NDArray[np.int64]:
    """Numbers of rows, equal ones with one number, as they first come: int64 `[n]`."""
    numbers: dict[bytes, int] = {}
    rows = np.array(images.pixels[:])
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def folds_of(rows: int) -> int:
    """In how many parts so many rows are scored.

    >>> [folds_of(rows) for rows in (3, 12, 500, 3_000, 10_000)]
    [1, 6, 10, 6, 5]
    """
    least, most = FOLDS
    return max(1, min(most, max(least, FOLDED_ROWS // rows), rows // 2))


def learnt(names: Sequence[str], model: Model, images: Images, device: torch.device) -> State:
    """What each score learns from images, `score.name` → tensor; nothing for most."""
    state: State = {}
    for name in names:
        fit = all_scores()[name].fit
        own = {} if fit is None else fit(model, images, device)
        state |= {f"{name}.{key}": value for key, value in own.items()}
    return state


def parts_of(state: State) -> dict[str, State]:
    """What each score has learnt, by name."""
    parts: dict[str, State] = {}
    for key, value in state.items():
        name, _, own = key.partition(".")
        parts.setdefault(name, {})[own] = value
    return parts


def scored(names: Sequence[str], view: View, parts: Mapping[str, State]) -> Tensor:
    """Each score of a view, float64 `[b, scores]` on the processor."""
    scores = all_scores()
    columns = [scores[name](view, parts.get(name, {})).double().cpu() for name in names]
    values = torch.stack(columns, 1)
    # rounded, for among many equal rows the last bits would decide a rank
    return torch.where(values.abs() < LARGE, (values * DIGITS).round() / DIGITS, values)


def surprise(names: Sequence[str], view: View, state: State) -> Tensor:
    """The sum of the surprises of a view's scores, in nats: float64 `[b]`.

    Source: Fisher 1925, for p-values.
    """
    values = scored(names, view, view.of_state(parts_of, state))
    return surprises(values, view.of_state(usual_of, state)).sum(1)


def surprises(values: Tensor, usual: Tensor) -> Tensor:
    """−log of the share of usual values above each value, in nats: float64 `[b, scores]`.

    Beyond all usual values it goes on, ever more slowly, by how far beyond, in units of their upper
    half.

    Args:
        values: float64 `[b, scores]`.
        usual: float64 `[scores, n]`, ascending.

    Examples:
        >>> usual = torch.arange(99.0).double()[None]
        >>> surprises(torch.tensor([[-1.0], [49.5], [98.5]]).double(), usual).exp().T.round()
        tensor([[  1.,   2., 202.]], dtype=torch.float64)
    """
    n = usual.shape[1]
    columns = values.T.contiguous()
    above = n - twice_the_rank(usual, columns).double() / 2
    most, middle = usual[:, -1:], usual[:, (n - 1) // 2][:, None]
    beyond = (columns - most).clamp(min=0) / (most - middle + TINY)
    return (beyond.log1p() - ((above + 0.5) / (n + 1)).log()).T


def out_of_fold(state: State) -> Tensor | None:
    """The scores of training rows, each without having been learnt from: `[n]`; or None."""
    if OUT_OF_FOLD not in state:
        return None
    return surprises(state[OUT_OF_FOLD], usual_of(state)).sum(1)


def usual_of(state: State) -> Tensor:
    """What is usual of each score, ascending: float64 `[scores, n]`."""
    return state[OUT_OF_FOLD].T.sort(1).values.contiguous()


def all_scores() -> Mapping[str, Score]:
    """All scores, those made of these among them."""
    from anogen.detection.scores import SCORES

    return SCORES
