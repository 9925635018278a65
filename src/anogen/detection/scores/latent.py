"""Scores of where an image lies among the latent vectors of training images."""

import torch
from torch import Tensor

from anogen.data.images import Images
from anogen.detection.density import Density
from anogen.detection.view import Score, State, View, collect
from anogen.models.base import Encodes, Model

NEIGHBOURS = 5
COMPONENTS = 10


def _means(model: Model, images: Images, device: torch.device) -> Tensor:
    return collect(lambda view: view.mean, model, images, device)


def _fit_mixture(model: Model, images: Images, device: torch.device) -> State:
    return Density.fit(_means(model, images, device).numpy(), components=COMPONENTS, fits=1).state()


def _fit_gaussian(model: Model, images: Images, device: torch.device) -> State:
    return Density.fit(_means(model, images, device).numpy(), components=1).state()


def _surprise(view: View, state: State) -> Tensor:
    density = view.of_state(Density.of, state)
    return torch.from_numpy(density.surprise(view.mean.double().cpu().numpy()))


def _distance(view: View, state: State) -> Tensor:
    density = view.of_state(Density.of, state)
    return torch.from_numpy(density.distances(view.mean.double().cpu().numpy())[0])


def _fit_neighbours(model: Model, images: Images, device: torch.device) -> State:
    return {"means": _means(model, images, device)}


def _neighbours(view: View, state: State) -> Tensor:
    squares = view.points(state, "means").squared_distances(view.mean.double())
    return squares.topk(min(NEIGHBOURS, squares.shape[1]), largest=False).values[:, -1].sqrt()


LATENT = {
    "latent_norm": Score(
        lambda view: view.mean.square().sum(1), (Encodes,), "squared latents",
        "distance from the prior's mean", fused="pictures",
    ),
    "latent_mixture": Score(
        _surprise, (Encodes,), "−log density, nats",
        "Gaussian mixture on posterior means; cf. Zong et al. 2018", fit=_fit_mixture,
        fused="pictures",
    ),
    "latent_mahalanobis": Score(
        _distance, (Encodes,), "standard deviations", "Lee et al. 2018, on posterior means",
        fit=_fit_gaussian,
    ),
    "latent_neighbours": Score(
        _neighbours, (Encodes,), "latents, to the fifth neighbour",
        "Sun et al. 2022, on posterior means", fit=_fit_neighbours,
    ),
}  # fmt: skip
