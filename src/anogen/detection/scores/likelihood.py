"""Scores from the likelihood that a model gives to an image, and from what corrects it."""

import math
import zlib
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from anogen.data.batches import to_bytes
from anogen.data.images import Images
from anogen.detection.view import Score, State, View, collect
from anogen.models.base import HasContrast, HasLikelihood, HasPosterior, Model
from anogen.models.terms import kl_standard_normal

DRAWS = 8
"""Draws of the latent noise behind each bound; the same for all images."""
IMPORTANCE_DRAWS = 16
REGRET_STEPS = 30
REGRET_RATE = 0.05
"""Learning rate of a posterior's mean and log-variance when it is fitted to one image."""


@cache
def fixed_noise(draws: int, latent: int, device: torch.device) -> Tensor:
    """Standard normal `[draws, latent]`, always the same, each draw with its mirror image."""
    with torch.inference_mode(False):  # others differentiate through what is made of it
        generator = Generator().manual_seed(0)
        half = torch.randn((draws + 1) // 2, latent, generator=generator, dtype=torch.float32)
        return torch.cat([half, -half])[:draws].to(device)


def _bound(model: Any, x: Tensor, posterior: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The evidence lower bound with the fixed noise, `[b]`."""
    noise = fixed_noise(DRAWS, model.latent, x.device)
    return model.elbo(x, noise=noise, posterior=posterior)


def _negative_elbo(view: View) -> Tensor:
    return -_bound(view.model, view.x, view.posterior)


def _importance_weighted(view: View) -> Tensor:
    model: Any = view.model
    noise = fixed_noise(IMPORTANCE_DRAWS, model.latent, view.x.device)
    return -model.log_likelihood(view.x, len(noise), noise=noise)


def _kl(view: View) -> Tensor:
    return kl_standard_normal(*view.posterior).sum(1)


def _regret(view: View) -> Tensor:
    """How much better the bound becomes when the posterior is fitted to the one image."""
    if torch.compiler.is_exporting():
        raise NotImplementedError("no graph holds the steps of an optimiser")
    before = view.once(_negative_elbo)
    best = before
    with torch.inference_mode(False), torch.enable_grad():
        x = view.x.clone()
        fitted = [part.clone().requires_grad_() for part in view.posterior]
        optimizer = torch.optim.Adam(fitted, lr=REGRET_RATE)
        for step in range(REGRET_STEPS + 1):
            loss = -_bound(view.model, x, (fitted[0], fitted[1]))
            best = torch.minimum(best, loss.detach())
            if step == REGRET_STEPS:
                break
            gradients = torch.autograd.grad(loss.sum(), fitted)
            for parameter, gradient in zip(fitted, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    return before - best


def _likelihood_ratio(view: View) -> Tensor:
    """The background model's bound above the model's own."""
    return view.once(_negative_elbo) + _bound(view.companions[0], view.x)


def _waic(view: View) -> Tensor:
    """−(mean − variance) of log p(x) over an ensemble."""
    own = -view.once(_negative_elbo)
    bounds = torch.stack([own, *(_bound(model, view.x) for model in view.companions)]).double()
    return bounds.var(0, correction=0) - bounds.mean(0)


def compressed_bytes(view: View) -> Tensor:
    """Size of each image's pixels after zlib, in bytes: float32 `[b]`."""
    sizes = [len(zlib.compress(image.tobytes(), 6)) for image in to_bytes(view.x)]
    return torch.tensor(sizes, dtype=torch.float32)


def _complexity_corrected(view: View) -> Tensor:
    nats = view.once(compressed_bytes).to(view.x.device) * (8 * math.log(2))
    return view.once(_negative_elbo) - nats


def _fit_typicality(model: Model, images: Images, device: torch.device) -> State:
    return {"mean": collect(_negative_elbo, model, images, device).mean()}


def _typicality(view: View, state: State) -> Tensor:
    return (view.once(_negative_elbo).double() - state["mean"]).abs()


def _contrast(view: View) -> Tensor:
    model: Any = view.model
    return model.contrast_log_ratio(*view.posterior)


_ELBO = (HasLikelihood,)

LIKELIHOOD = {
    "kl": Score(
        _kl, (HasPosterior,), "nats", "the paper, section 4.4.4", passes=1, fused="pictures"
    ),
    "negative_elbo": Score(
        _negative_elbo, _ELBO, "nats", "Kingma & Welling 2014, equation 3", passes=DRAWS
    ),
    "importance_weighted": Score(
        _importance_weighted, _ELBO, "nats", "Burda et al. 2016, equation 8",
        passes=IMPORTANCE_DRAWS,
    ),
    "regret": Score(
        _regret, _ELBO, "nats",
        "Xiao et al. 2020, section 4, of the posterior's parameters instead of the encoder's",
        passes=3 * DRAWS * REGRET_STEPS,
    ),
    "typicality": Score(
        _typicality, _ELBO, "nats from the training images' mean",
        "Nalisnick et al. 2019, of single images", passes=DRAWS, fit=_fit_typicality,
    ),
    "complexity_corrected": Score(
        _complexity_corrected, _ELBO, "nats", "Serrà et al. 2020, equation 4", passes=DRAWS,
        only="pictures",
    ),
    "likelihood_ratio": Score(
        _likelihood_ratio, _ELBO, "nats above the background's",
        "Ren et al. 2019, equation 5", passes=2 * DRAWS, companions=1,
    ),
    "waic": Score(
        _waic, _ELBO, "nats", "Choi et al. 2018, equation 1", passes=2 * DRAWS, companions=1
    ),
    "contrast": Score(
        _contrast, (HasContrast,), "nats for the contrastive prior",
        "after Ran et al. 2022 and Hafner et al. 2018; see `NCPVAE`",
    ),
}  # fmt: skip
