"""Scores from a discriminator, and from searching the latent of an image."""

from typing import Any

import torch
from torch import Generator, Tensor

from anogen.detection.scores.pixels import image_distances
from anogen.detection.scores.reconstruction import layer_errors
from anogen.detection.view import Discriminates, Score, View, readable
from anogen.models.base import Encodes, Reconstructs
from anogen.models.terms import squared_error

INVERSION_STARTS = 256
"""Latents among which each image finds where to begin."""
INVERSION_STEPS = 40
INVERSION_RATE = 0.1


class HasDiscriminator(metaclass=readable("discriminator")):
    """What a model is an instance of if its `discriminator` is a net of `anogen.nets`."""


def _unreal(view: View) -> Tensor:
    model: Any = view.model
    return -model.logit(view.x)


def _discriminator_error(view: View) -> Tensor:
    model: Any = view.model
    net = model.discriminator
    return layer_errors(net.features(view.x), net.features(view.rebuilt))


def _inversion(view: View) -> Tensor:
    """The least squared error that a latent reaches by gradient descent: `[b]`.

    The search begins at the nearest of a fixed set of random images, or at the posterior's mean
    where the model encodes.
    """
    model: Any = view.model
    with torch.inference_mode(False), torch.enable_grad():
        x = view.x.clone()
        z = _start(view).clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=INVERSION_RATE)
        best = torch.full((len(x),), torch.inf, device=x.device)
        for step in range(INVERSION_STEPS + 1):
            error = squared_error(x, model.decode(z))
            best = torch.minimum(best, error.detach())
            if step < INVERSION_STEPS:
                (z.grad,) = torch.autograd.grad(error.sum(), z)
                optimizer.step()
    return best


@torch.no_grad()
def _start(view: View) -> Tensor:
    model: Any = view.model
    if isinstance(model, Encodes):
        return view.mean
    generator = Generator().manual_seed(0)
    latents = torch.randn(
        INVERSION_STARTS, model.latent, generator=generator, dtype=torch.float32
    ).to(view.x.device)
    return latents[image_distances(view.x, model.decode(latents)).argmin(1)]


ADVERSARIAL_SCORES = {
    "unreal": Score(
        _unreal, (Discriminates,), "logit", "Schlegl et al. 2017, the discriminator", passes=1,
        fused="pictures",
    ),
    "discriminator_error": Score(
        _discriminator_error, (Reconstructs, HasDiscriminator),
        "squared activations, mean per layer, summed",
        "Schlegl et al. 2019 (f-AnoGAN), the encoder being the model's own", passes=2,
    ),
    "inversion": Score(
        _inversion, (Discriminates,), "squared pixels, summed",
        "Schlegl et al. 2017 (AnoGAN), the residual", passes=3 * INVERSION_STEPS,
    ),
}  # fmt: skip
