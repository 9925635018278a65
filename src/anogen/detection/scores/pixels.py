"""Baselines: scores of the pixels alone, without a generative model."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import to_bytes
from anogen.data.images import Images
from anogen.detection.density import Density
from anogen.detection.scores.likelihood import compressed_bytes
from anogen.detection.view import Points, Score, State, View, collect
from anogen.evaluation.reconstruction import sharpness
from anogen.models.base import Model

PRINCIPAL_SHARE = 0.95
"""Share of the variance that the kept principal components explain, for the error."""
PRINCIPAL_COMPONENTS = 30
"""Kept for the mixture."""
SVM_FEATURES = 500
SVM_NU = 0.05
"""Share of the training images that may lie outside the support."""
TREES = 100


def _entropy(view: View) -> Tensor:
    """Entropy of the histogram of grey levels, over all channels."""
    pixels = to_bytes(view.x).reshape(len(view.x), -1).astype(np.int64)
    rows = np.arange(len(pixels))[:, None] * 256
    counts = np.bincount((pixels + rows).ravel(), minlength=256 * len(pixels)).reshape(-1, 256)
    shares = np.arange(pixels.shape[1] + 1) / pixels.shape[1]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return torch.from_numpy((-shares * logs)[counts].sum(1))


def _rows(view: View) -> Tensor:
    """The values of each image in a row: float64 `[b, values]`."""
    return view.x.flatten(1).double()


def _fit_mean(model: Model, images: Images, device: torch.device) -> State:
    return {"mean": collect(lambda view: view.x, model, images, device).mean(0)}


def _mean_distance(view: View, state: State) -> Tensor:
    return (view.once(_rows) - state["mean"].to(view.x.device).flatten()).square().sum(1)


def _fit_neighbours(model: Model, images: Images, device: torch.device) -> State:
    pixels = torch.from_numpy(np.ascontiguousarray(images.pixels[:]))
    return {"pixels": pixels}


def _nearest(view: View, state: State) -> Tensor:
    return image_distances(view.x, state["pixels"]).min(1).values


def image_distances(x: Tensor, references: Tensor) -> Tensor:
    """Squared error between images `[b, ...]` and others `[m, ...]`, float64 `[b, m]`.

    On the [0, 1] scale, summed over pixels. Where the others are uint8, `x` is taken as bytes too,
    so that every product is a whole number and every sum exact.
    """
    references = references.to(x.device)
    if references.dtype == torch.uint8:
        return Points.of(_bytes(references)).squared_distances(_bytes(x)) / 255**2
    return Points.of(references.flatten(1).double()).squared_distances(x.flatten(1).double())


def _bytes(x: Tensor) -> Tensor:
    """Grey levels 0 to 255 as float64, `[b, values]`."""
    rows = x.flatten(1).double()
    return rows if x.dtype == torch.uint8 else (255 * rows).round()


def _components(
    model: Model, images: Images, device: torch.device, kept: float
) -> tuple[State, NDArray[np.float64]]:
    """Principal components, so many or of such a share of the variance; the images along them."""
    from sklearn.decomposition import PCA

    rows = collect(_rows, model, images, device).numpy()
    fitted: Any = PCA(kept, svd_solver="full").fit(rows)
    components = np.ascontiguousarray(fitted.components_)
    state = {"origin": fitted.mean_, "components": components}
    return {k: torch.from_numpy(v) for k, v in state.items()}, fitted.transform(rows)


def _along(view: View, state: State) -> tuple[Tensor, Tensor]:
    """Images in rows without their mean, and their lengths along the components."""
    centred = view.once(_rows) - state["origin"].to(view.x.device)
    return centred, centred @ state["components"].to(view.x.device).T


def _fit_principal_error(model: Model, images: Images, device: torch.device) -> State:
    return _components(model, images, device, PRINCIPAL_SHARE)[0]


def _principal_error(view: View, state: State) -> Tensor:
    centred, lengths = _along(view, state)
    return (centred.square().sum(1) - lengths.square().sum(1)).clamp(min=0)  # orthonormal


def _fit_principal_mixture(model: Model, images: Images, device: torch.device) -> State:
    kept = min(PRINCIPAL_COMPONENTS, math.prod(images.shape), len(images))
    state, lengths = _components(model, images, device, kept)
    return state | Density.fit(lengths, fits=1).state()


def _principal_mixture(view: View, state: State) -> Tensor:
    lengths = _along(view, state)[1].cpu().numpy()
    return torch.from_numpy(view.of_state(Density.of, state).surprise(lengths))


def _fit_svm(model: Model, images: Images, device: torch.device) -> State:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import SGDOneClassSVM

    rows = collect(_rows, model, images, device).numpy()
    gamma = 1 / max(rows.shape[1] * rows.var(), 1e-12)
    kernel: Any = Nystroem(gamma=gamma, n_components=min(SVM_FEATURES, len(rows)), random_state=0)
    features = kernel.fit_transform(rows)
    machine: Any = SGDOneClassSVM(nu=SVM_NU, random_state=0, average=True).fit(features)
    return {
        "points": torch.from_numpy(kernel.components_),
        "weights": torch.from_numpy(kernel.normalization_.T @ machine.coef_),
        "gamma": torch.tensor(gamma, dtype=torch.float64),
    }


def _svm(view: View, state: State) -> Tensor:
    device = view.x.device
    squares = view.points(state, "points").squared_distances(view.once(_rows))
    weights, gamma = state["weights"].to(device), state["gamma"].to(device)
    return -(torch.exp(-gamma * squares) * weights).sum(1)


def _fit_forest(model: Model, images: Images, device: torch.device) -> State:
    from sklearn.ensemble import IsolationForest

    rows = collect(_rows, model, images, device).numpy().astype(np.float32)
    forest: Any = IsolationForest(n_estimators=TREES, random_state=0).fit(rows)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    most = max(tree.node_count for tree in trees)

    def padded(values: list[Any], dtype: type) -> Tensor:
        table = np.zeros((len(values), most), dtype)
        for row, own in zip(table, values, strict=True):
            row[: len(own)] = own
        return torch.from_numpy(table)

    usual = _average_path(np.array([forest.max_samples_]))[0]
    return {
        "feature": padded([tree.feature.clip(min=0) for tree in trees], np.int64),
        "threshold": padded([tree.threshold for tree in trees], np.float64),
        "left": padded([_or_stay(tree.children_left) for tree in trees], np.int64),
        "right": padded([_or_stay(tree.children_right) for tree in trees], np.int64),
        "path": padded([_paths(tree) / usual for tree in trees], np.float64),
        "depth": torch.tensor(max(tree.max_depth for tree in trees)),
    }


def _or_stay(children: Any) -> Any:
    """The child of each node; a leaf's is itself."""
    return np.where(children < 0, np.arange(len(children)), children)


def _average_path(count: Any) -> Any:
    """Mean length of an unsuccessful search in a binary tree of so many points.

    Source: Liu et al. 2008, equation 1.
    """
    count = np.asarray(count, np.float64)
    several = np.maximum(count, 3)
    long = 2 * (np.log(several - 1) + np.euler_gamma) - 2 * (several - 1) / several
    return np.where(count > 2, long, np.where(count > 1, 1.0, 0.0))


def _paths(tree: Any) -> Any:
    """Length of the path to each node, with what the points in it would add."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    return depth + _average_path(tree.n_node_samples)


def _depth(state: State) -> int:
    return int(state["depth"])


def _isolation(view: View, state: State) -> Tensor:
    depth = view.of_state(_depth, state)
    state = {name: tensor.to(view.x.device) for name, tensor in state.items()}
    rows = view.x.flatten(1)
    trees = torch.arange(len(state["feature"]), device=rows.device)
    node = torch.zeros(rows.shape[0], len(trees), dtype=torch.int64, device=rows.device)
    for _ in range(depth):
        value = rows.gather(1, state["feature"][trees, node])
        left = value.double() <= state["threshold"][trees, node]
        node = torch.where(left, state["left"][trees, node], state["right"][trees, node])
    return 2 ** -state["path"][trees, node].mean(1)


PIXELS = {
    "pixel_entropy": Score(_entropy, (), "nats", "no model", only="pictures", fused="pictures"),
    "nonzero_pixels": Score(
        lambda view: (view.x > 0).flatten(1).sum(1), (), "pixels", "no model", only="pictures",
        fused="pictures",
    ),
    "pixel_sum": Score(
        lambda view: view.x.flatten(1).sum(1), (), "pixels", "no model", fused="pictures"
    ),
    "sharpness": Score(
        lambda view: sharpness(view.x), (), "variance of the Laplacian", "no model",
        only="pictures", fused="pictures",
    ),
    "compressed_size": Score(
        compressed_bytes, (), "bytes of zlib", "Serrà et al. 2020, input complexity",
        only="pictures", fused="pictures",
    ),
    "mean_distance": Score(
        _mean_distance, (), "squared pixels, summed", "distance to the mean image", fit=_fit_mean,
        fused="pictures",
    ),
    "nearest_pixels": Score(
        _nearest, (), "squared pixels, summed", "nearest training image; Ramaswamy et al. 2000",
        fit=_fit_neighbours,
    ),
    "principal_error": Score(
        _principal_error, (), "squared pixels, summed",
        "principal components of 95 % of the variance; Shyu et al. 2003", fit=_fit_principal_error,
        fused="pictures",
    ),
    "principal_mixture": Score(
        _principal_mixture, (), "−log density, nats",
        "Gaussian mixture on the first 30 principal components", fit=_fit_principal_mixture,
        fused="pictures",
    ),
    "one_class_svm": Score(
        _svm, (), "1, without the offset",
        "the paper, section 3.1.1; Schölkopf et al. 2001, Nyström-approximated", fit=_fit_svm,
        fused="pictures",
    ),
    "isolation_forest": Score(
        _isolation, (), "1, in (0, 1]", "Liu et al. 2008, equation 2", fit=_fit_forest
    ),
}  # fmt: skip
