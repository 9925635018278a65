"""Scores that look at places: a small defect counts for itself, however good the rest is."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.data.images import Images
from anogen.detection.features import SOURCES, joined
from anogen.detection.view import Prepared, Score, State, View, exactly, views
from anogen.models.base import Model

SHARE = 0.01
"""Of the cells, the largest, whose mean is an image's score."""
RIDGE = 0.01
"""Added to the variances, in mean variances."""
PATCHES = 100_000
"""From which the memory is chosen."""
MEMORY = 2_000
"""Patches that are remembered."""
DIRECTIONS = 64
"""Random ones, along which patches are compared while the memory is chosen."""
TOGETHER = 8
"""Images whose distances are measured at once."""
NET = "net."

Cells = Callable[[View, State], Tensor]
"""A view and a state → how unusual each cell is, `[b, h, w]`."""


def largest(cells: Tensor) -> Tensor:
    """The mean of the largest hundredth of the cells, one at least: `[b, h, w]` → `[b]`."""
    flat = cells.flatten(1)
    return flat.topk(max(1, round(SHARE * flat.shape[1])), 1).values.mean(1)


def enlarged(cells: Tensor, view: View) -> Tensor:
    """Cells `[b, h', w']` in the size of the images: `[b, 1, h, w]`."""
    size = view.x.shape[2:]
    return F.interpolate(cells[:, None], size, mode="bilinear", align_corners=False)


def _net(state: State) -> State:
    return {key.removeprefix(NET): value for key, value in state.items() if key.startswith(NET)}


def _seen(source: str, view: View, state: State) -> Tensor:
    """The features of a view on their grid: float32 `[b, d, h, w]`."""
    return joined(SOURCES[source].maps(view, view.of_state(_net, state)))


def _weights(source: str, images: Images, device: torch.device) -> State:
    make = SOURCES[source].weights
    own = make(images, device) if make else {}
    return {NET + key: value for key, value in own.items()}


def _fit_gaussians(source: str, model: Model, images: Images, device: torch.device) -> State:
    """The mean and the covariance of the features in each cell, from one pass over the images."""
    weights = _weights(source, images, device)
    count, shift = 0, torch.zeros(())
    total, squares = torch.zeros(()), torch.zeros(())
    shape: tuple[int, int] = (1, 1)
    with exactly():
        for view, n in views(Prepared.of(model, device), images):
            seen = _seen(source, view, weights)[:n]
            shape = (seen.shape[2], seen.shape[3])
            rows = seen.flatten(2).permute(2, 0, 1)  # cells, images, features
            if count == 0:
                shift = rows.mean(1, keepdim=True)
            rows = rows - shift  # so that little is lost in the difference of large squares
            total = total + rows.sum(1).double()
            squares = squares + (rows.mT @ rows).double()
            count += n
    mean = total / count
    covariance = squares / count - mean[:, :, None] * mean[:, None]
    d = mean.shape[1]
    spread = covariance.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
    ridged = (covariance + RIDGE * spread * torch.eye(d, device=covariance.device)).cpu().numpy()
    factors = np.stack([np.linalg.inv(np.linalg.cholesky(one)) for one in ridged])
    lower = np.tril_indices(d)
    centre = (mean + shift[:, 0]).T.reshape(d, *shape)
    return weights | {
        "mean": centre.float().cpu().contiguous(),
        "factors": torch.from_numpy(factors[:, lower[0], lower[1]]).float(),
    }


def _whole_factors(state: State) -> Tensor:
    """Lower triangles `[cells, d, d]` from their entries."""
    d, cells = state["mean"].shape[0], state["factors"].shape[0]
    whole = torch.zeros(cells, d, d)
    down, right = torch.tril_indices(d, d)
    whole[:, down, right] = state["factors"]
    return whole


def _gaussian_cells(source: str, view: View, state: State) -> Tensor:
    """The Mahalanobis distance of each cell's features."""
    seen = _seen(source, view, state)
    factors = view.of_state(_whole_factors, state).to(seen.device)
    away = (seen - state["mean"].to(seen.device)).flatten(2).permute(2, 1, 0)
    if torch.compiler.is_exporting():  # a graph takes any number at once
        lengths = (factors @ away).square().sum(1).sqrt()
        return lengths.T.reshape(-1, *seen.shape[2:])
    missing = -len(seen) % TOGETHER  # so that as many are multiplied each time, and rounded alike
    parts = F.pad(away, (0, missing)).split(TOGETHER, 2)
    lengths = [(factors @ part.contiguous()).square().sum(1).sqrt() for part in parts]
    return torch.cat(lengths, 1)[:, : len(seen)].T.reshape(len(seen), *seen.shape[2:])


def _fit_memory(source: str, model: Model, images: Images, device: torch.device) -> State:
    """Patches of known images, thinned so that each is near to one that is kept.

    Source: Roth et al. 2022 (PatchCore); the greedy choice of centres, Gonzalez 1985.
    """
    weights = _weights(source, images, device)
    generator = torch.Generator().manual_seed(0)
    each = max(1, PATCHES // len(images))
    parts: list[Tensor] = []
    with exactly():
        for view, n in views(Prepared.of(model, device), images):
            for one in _seen(source, view, weights)[:n].flatten(2).mT.cpu():
                parts.append(one[torch.randperm(len(one), generator=generator)[:each]])
    patches = torch.cat(parts)
    scale = patches.std(0).clamp(min=1e-6) if len(patches) > 1 else torch.ones(patches.shape[1])
    patches = patches / scale
    kept = spread_out(patches, MEMORY, generator)
    return weights | {"patches": patches[kept].double(), "scale": scale}


def spread_out(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many of the points that all are near to one of them, greedily: int64 `[count]`.

    Each one chosen is the farthest from those before it, along random directions.
    """
    d = points.shape[1]
    directions = torch.randn(d, min(d, DIRECTIONS), generator=generator)
    short = points.float() @ directions
    chosen = [0]
    nearest = (short - short[0]).square().sum(1)
    while len(chosen) < min(count, len(points)) and float(nearest.max()) > 0:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (short - short[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)


def _neighbour_cells(source: str, view: View, state: State) -> Tensor:
    """The distance of each cell's features from the nearest patch that is remembered."""
    seen = _seen(source, view, state)
    patches = view.points(state, "patches")
    rows = (seen.flatten(2).mT / state["scale"].to(seen.device)).flatten(0, 1).double()
    return patches.nearest(rows, 1)[0].sqrt().reshape(-1, *seen.shape[2:])


def _score(cells: Cells, view: View, state: State) -> Tensor:
    return largest(cells(view, state))


def _map(cells: Cells, view: View, state: State) -> Tensor:
    return enlarged(cells(view, state), view)


def _local() -> dict[str, Score]:
    scores: dict[str, Score] = {}
    kinds = {
        "local_gaussian": (_gaussian_cells, _fit_gaussians, "Mahalanobis distance",
                           "a Gaussian in each place, Defard et al. 2021"),
        "patch_neighbours": (_neighbour_cells, _fit_memory, "distance",
                             "the nearest of remembered patches, Roth et al. 2022"),
    }  # fmt: skip
    for kind, (cells, fit, unit, said) in kinds.items():
        for name, source in SOURCES.items():
            own = partial(cells, name)
            scores[f"{kind}_{name}"] = Score(
                partial(_score, own), source.needs, unit, f"{said}, on {source.says}", passes=1,
                fit=partial(fit, name), only="pictures", map=partial(_map, own), sums=False,
                package=source.package, trains=source.trains,
            )  # fmt: skip
    return scores


LOCAL = _local()
