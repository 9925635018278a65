"""Scores of a table's rows: neighbours, local density and mixtures, without a generative model."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from anogen.data.images import Images
from anogen.data.scaling import standardised
from anogen.detection.density import Density
from anogen.detection.view import Points, Score, State, View, collect
from anogen.models.base import Model

NEIGHBOURS = 5
IDENTICAL = 1e-9
"""Squared distance, as a share of a row's own squared length, below which two rows are one."""
USUAL = 0.005
"""Share of the values on either side that may be huge,"""
HUGE = 10
"""which is: so many times the range of the others beyond them."""
CONSTANT = 1e-12
ROUNDED = 0.1
NEAREST = 1e-6
"""Added to distances, so that the logarithm of none is finite."""
MOST_ROBUST = 60
CORE = 0.75
"""Share of the rows of which a robust covariance is."""
CONCENTRATIONS = 10
RIDGE = 1e-3
REFERENCES = 0.7
"""Share of the rows, the closest together, that are neighbours of others."""
MIXTURE = "mixture"
SPARE = 10
"""So many more are looked at than are needed, for they may be equally near."""
EQUALLY_NEAR = 1e-9
SEARCHED = 250
"""Rows whose neighbours are looked for at once."""
COMPONENTS = 10
ROWS_EACH = 10
"""A component has so many training rows at least, on average."""
MOST_FEATURES = 100
"""A mixture of more is of their first principal components."""

Scale = Callable[[Tensor, State], Tensor]


def _rows(view: View) -> Tensor:
    """Robustly standardised values, float64 `[b, columns]`."""
    return standardised(view.x.flatten(1))


def _all_rows(model: Model, images: Images, device: torch.device) -> Tensor:
    return collect(lambda view: view.once(_rows), model, images, device)


def _fit_standard(rows: Tensor) -> State:
    """Means and standard deviations, which a few huge values do not decide."""
    rows = _without_huge(rows)
    scale = rows.std(0, correction=0)
    constant = scale <= CONSTANT
    return {
        "mean": rows.mean(0), "scale": torch.where(constant, 1.0, scale), "constant": constant
    }  # fmt: skip


def _without_huge(rows: Tensor) -> Tensor:
    """Each column clipped far beyond its usual values.

    Where nearly all values are one, the fifth largest deviation from it is usual, or else 1.
    """
    low = rows.quantile(USUAL, 0, interpolation="higher")
    high = rows.quantile(1 - USUAL, 0, interpolation="lower")
    deviations = (rows - rows.median(0).values).abs()
    fifth = deviations.topk(min(NEIGHBOURS, len(rows)), 0).values[-1]
    width = torch.where(high > low, high - low, fifth)
    beyond = HUGE * torch.where(width > 0, width, 1.0)
    return torch.minimum(torch.maximum(rows, low - beyond), high + beyond)


def _standard(rows: Tensor, state: State) -> Tensor:
    """Each column less its mean, over its standard deviation.

    Of a constant column what storing it as float32 changes is no difference.
    """
    state = {name: state[name].to(rows.device) for name in ("mean", "scale", "constant")}
    z = (rows - state["mean"]) / state["scale"]
    return torch.where(state["constant"] & (z.abs() < ROUNDED), 0.0, z)


def _fit_ranks(rows: Tensor) -> State:
    """The sorted values of each column, and the normal scores of all half ranks."""
    count = len(rows)
    places = (torch.arange(2 * count + 1, dtype=torch.float64) / 2 + 0.5) / (count + 1)
    return _fit_standard(rows) | {
        "sorted": rows.T.sort(1).values.contiguous(), "normal": torch.special.ndtri(places)
    }  # fmt: skip


def _ranks(rows: Tensor, state: State) -> Tensor:
    """The normal score of each value's rank among those of its column.

    Beyond the training values it goes on by their standard deviation; constant columns are as in
    `_standard`.
    """
    values, scale = state["sorted"].to(rows.device), state["scale"].to(rows.device)
    columns = rows.T.contiguous()
    normal = state["normal"].to(rows.device)[twice_the_rank(values, columns)]
    beyond = (columns - values[:, -1:]).clamp(min=0) - (values[:, :1] - columns).clamp(min=0)
    ranks = (normal + beyond / scale[:, None]).T
    return torch.where(state["constant"].to(rows.device), _standard(rows, state), ranks)


def twice_the_rank(values: Tensor, columns: Tensor) -> Tensor:
    """How many sorted values lie below, and how many not above: int64, as `columns`."""
    if torch.compiler.is_exporting():  # ONNX cannot search
        below = (values[:, None] < columns[:, :, None]).sum(2)
        return below + (values[:, None] <= columns[:, :, None]).sum(2)
    return torch.searchsorted(values, columns) + torch.searchsorted(values, columns, right=True)


def _fit_neighbours(model: Model, images: Images, device: torch.device) -> State:
    return {"rows": _all_rows(model, images, device)}


def _neighbours(view: View, state: State) -> Tensor:
    """The distance to the fifth nearest training row."""
    squares, _ = _others(view.points(state, "rows"), view.once(_rows), NEIGHBOURS)
    return squares[:, -1].sqrt()


def _others(
    points: Points, rows: Tensor, count: int, reach: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Squared distances from the nearest training rows, ascending, and their places.

    One that is the row itself does not count, so that a training row has about the score that it
    would have if it had not been one. Of equally near ones those of the smallest reach come first,
    so that the score does not depend on how they were looked for.

    Returns:
        `[b, count]` each; fewer columns where there are fewer training rows.
    """
    squares, places = points.nearest(rows, count + 1 + (0 if reach is None else SPARE))
    if reach is not None:
        order = (squares + EQUALLY_NEAR * reach.to(rows.device)[places]).argsort(1)
        squares, places = squares.gather(1, order), places.gather(1, order)
    itself = squares[:, :1] <= IDENTICAL * (1 + rows.square().sum(1, keepdim=True))
    last = squares.shape[1] - 1
    order = torch.arange(min(count, max(last, 1)), device=rows.device) + itself.long()
    order = order.clamp(max=last)
    return squares.gather(1, order), places.gather(1, order)


def _local_density(fit_scale: Callable[[Tensor], State], scale: Scale) -> Score:
    """How far a row's neighbours are, set against how far theirs are.

    The logarithm of the mean distance to the five nearest training rows, less half the mean
    logarithm of the distance from each of these to its own fifth: half-way between a distance,
    which is blind where densities differ, and a local outlier factor, which is blind to how far out
    a sparse region lies.
    """

    def fit(model: Model, images: Images, device: torch.device) -> State:
        raw = _all_rows(model, images, device)
        state = fit_scale(raw)
        rows = scale(raw, state)
        return state | {"rows": rows, "reach": _reach(rows)}

    def score(view: View, state: State) -> Tensor:
        rows = scale(view.once(_rows), state)
        points, reach = view.points(state, "rows"), state["reach"]
        squares, places = _others(points, rows, NEIGHBOURS, reach)
        reach = state["reach"].to(rows.device)[places]
        return (squares.sqrt().mean(1) + NEAREST).log() - 0.5 * reach.log().mean(1)

    return Score(
        score, (), "nats, of a distance", "after Breunig et al. 2000, equation 7", fit=fit,
        only="tables", fused="tables",
    )  # fmt: skip


def _reach(rows: Tensor) -> Tensor:
    """The distance from each row to its fifth nearest other one: float64 `[n]`."""
    points, count = Points.of(rows), NEIGHBOURS + 1
    parts = [points.nearest(part, count)[0][:, -1].sqrt() for part in rows.split(SEARCHED)]
    return torch.cat(parts) + NEAREST


def _mixture(fit_scale: Callable[[Tensor], State], scale: Scale) -> Score:
    """−log density of a mixture of ten Gaussians, in nats; of at most 100 principal components."""

    def fit(model: Model, images: Images, device: torch.device) -> State:
        raw = _all_rows(model, images, device)
        state = fit_scale(raw)
        rows = scale(raw, state)
        rows, components = _principal(rows, MOST_FEATURES)
        if components is not None:
            state["components"] = components
        values = np.ascontiguousarray(rows.cpu().numpy())
        density = Density.fit(values, components=COMPONENTS, fits=1, rows_each=ROWS_EACH)
        return state | {f"{MIXTURE}.{key}": value for key, value in density.state().items()}

    def score(view: View, state: State) -> Tensor:
        rows = scale(view.once(_rows), state)
        if "components" in state:
            rows = rows @ state["components"].to(rows.device)
        return view.of_state(_density, state).surprise_of(rows)

    return Score(
        score, (), "−log density, nats", "Gaussian mixture of ten components", fit=fit,
        only="tables", fused="tables",
    )  # fmt: skip


def _fit_robust(model: Model, images: Images, device: torch.device) -> State:
    return _core(_all_rows(model, images, device))[0]


def _core(raw: Tensor) -> tuple[State, Tensor]:
    """Centre and covariance of the three quarters of the rows that lie closest together.

    By concentration steps from the rows whose normal scores lie nearest to 0: a covariance is
    computed of the rows with the smallest distances, and distances by it, until they stay.

    Source: Hubert et al. 2012, section 2, with one of its six starts.

    Returns:
        The state of a robust distance, and the distances of the rows, `[n]`.
    """
    state = _fit_standard(raw)
    rows, components = _principal(_standard(raw, state), MOST_ROBUST)
    if components is not None:
        state["components"] = components
    distances = _ranks(raw, _fit_ranks(raw)).square().sum(1)
    kept = max(1, math.ceil(CORE * len(rows)))
    nearest = None
    for _ in range(CONCENTRATIONS):
        before, nearest = nearest, distances.topk(kept, largest=False).indices.sort().values
        if before is not None and torch.equal(before, nearest):
            break
        part = rows[nearest]
        centred = part - part.mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / kept)
        values = values.clamp(min=0)
        whitening = vectors / (values + RIDGE * values.mean() + NEAREST).sqrt()
        state |= {"centre": part.mean(0), "whitening": whitening}
        distances = ((rows - state["centre"]) @ whitening).square().sum(1)
    return state, distances


def _robust(view: View, state: State) -> Tensor:
    """The distance from the core's centre, in its standard deviations."""
    rows = _standard(view.once(_rows), state)
    if "components" in state:
        rows = rows @ state["components"].to(rows.device)
    centred = rows - state["centre"].to(rows.device)
    return (centred @ state["whitening"].to(rows.device)).square().sum(1).sqrt()


def _fit_core_neighbours(model: Model, images: Images, device: torch.device) -> State:
    raw = _all_rows(model, images, device)
    _, distances = _core(raw)
    core = raw[distances <= distances.quantile(REFERENCES)]
    state = _fit_standard(core)
    return state | {"rows": _standard(core, state)}


def _core_neighbours(view: View, state: State) -> Tensor:
    """The distance to the fifth nearest of the rows that lie closest together."""
    rows = _standard(view.once(_rows), state)
    return _others(view.points(state, "rows"), rows, NEIGHBOURS)[0][:, -1].sqrt()


def _principal(rows: Tensor, most: int) -> tuple[Tensor, Tensor | None]:
    """Rows along their first principal components, where they have more columns than these."""
    if rows.shape[1] <= most:
        return rows, None
    centred = rows - rows.mean(0)
    components = torch.linalg.eigh(centred.T @ centred)[1][:, -most:].contiguous()
    return rows @ components, components


def _density(state: State) -> Density:
    own = (key.partition(".") for key in state)
    return Density.of(
        {name: state[f"{MIXTURE}.{name}"] for part, _, name in own if part == MIXTURE}
    )


TABLES = {
    "row_neighbours": Score(
        _neighbours, (), "standard deviations, to the fifth neighbour",
        "Ramaswamy et al. 2000, on standardised rows", fit=_fit_neighbours, only="tables",
    ),
    "robust_distance": Score(
        _robust, (), "standard deviations", "Hubert et al. 2012", fit=_fit_robust, only="tables"
    ),
    "core_neighbours": Score(
        _core_neighbours, (), "standard deviations, to the fifth neighbour",
        "Ramaswamy et al. 2000, among the rows that lie closest together",
        fit=_fit_core_neighbours, only="tables",
    ),
    "local_density": _local_density(_fit_standard, _standard),
    "local_density_of_ranks": _local_density(_fit_ranks, _ranks),
    "row_mixture": _mixture(_fit_standard, _standard),
    "row_mixture_of_ranks": _mixture(_fit_ranks, _ranks),
}  # fmt: skip
