"""Everything that a model's abilities let us measure on images, in one flat dictionary."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import Batch, in_order
from anogen.data.images import Images
from anogen.data.splits import expect
from anogen.device import choose_device, memory_advice, own_randomness
from anogen.errors import UsageError
from anogen.evaluation.measures import Seen, per_image
from anogen.evaluation.reconstruction import mean_with_interval
from anogen.models.base import (
    Encodes,
    HasLikelihood,
    HasPosterior,
    Model,
    refuse_no_model,
)
from anogen.models.conditions import shown_to
from anogen.progress import Progress

ACTIVE_VARIANCE = 0.01
"""A latent is active where the variance of its posterior mean over images exceeds this
(Burda et al. 2016, section 5.2)."""

Result = dict[str, Any]


def evaluate(
    model: Model,
    images: Images,
    *,
    importance_samples: int = 64,
    likelihood_images: int = 500,
    seed: int = 0,
    device: str = "auto",
) -> Result:
    """Measure what the model's abilities allow; float32 throughout, in evaluation mode.

    Args:
        model: from `Run.load_model`, or any other.
        images: usually the test images.
        importance_samples: draws per image for the importance-weighted likelihood.
        likelihood_images: on how many of the images (the first ones) to measure that.
        seed: of every draw; the same seed gives the same numbers.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        Flat: a mean over images under each name, with the bounds of its 95 % interval over images
        under `name_low` and `name_high` (normal approximation, 1.96 standard errors; None for a
        single image).

        Reconstruction, decoded from the posterior's mean: `squared_error` (summed over pixels,
        [0, 1] scale), `mean_squared_error`, `cosine_similarity`, `psnr_db`,
        `sharpness_reconstruction` beside `sharpness_data`. Likelihood: `elbo_nats`, `kl_nats`,
        `kl_per_latent_nats` (a list), `log_likelihood_nats` (importance-weighted). Latents:
        `active_units` of `latent`. And `images`, the count. `anogen.evaluate_generation` measures
        new images.

    Raises:
        UsageError: images of another shape than the model's, or a negative count.
        TrainingError: memory ran out.

    Examples:
        >>> import torch, anogen
        >>> digits = anogen.load_data("digits")
        >>> result = anogen.evaluate(anogen.VAE(digits.shape, latent=2), digits.test[:20])
        >>> result["squared_error_low"] < result["squared_error"] < result["squared_error_high"]
        True
    """
    refuse_no_model(model, "evaluate")
    expect(images, Images, "evaluate")
    if images.shape != model.shape:
        raise UsageError(f"{images.name}: images of {images.shape}, the model has {model.shape}")
    if min(importance_samples, likelihood_images, seed) < 0:
        raise UsageError("importance_samples, likelihood_images, seed: none is negative")
    target = choose_device(device)
    model, images = model.eval().to(target), shown_to(model, images)
    result: Result = {"images": len(images), "data": images.name}
    with (
        own_randomness(),
        torch.inference_mode(),
        memory_advice("evaluate smaller images, or a narrower model"),
    ):
        for part in _per_image(model, images, target, seed):
            result |= part
        result |= _likelihood(model, images, target, seed, importance_samples, likelihood_images)
    return result


def _per_image(model: Model, images: Images, device: torch.device, seed: int) -> Iterator[Result]:
    """One pass over the images for all that is measured on each of them."""
    columns: dict[str, list[NDArray[Any]]] = {}
    with Progress("evaluating", len(images)) as bar:
        for index, batch in enumerate(in_order(images, device)):
            torch.manual_seed(seed + index)
            for name, values in _measure(model, batch).items():
                columns.setdefault(name, []).append(values.cpu().numpy())
            bar.advance(len(batch.x))
    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    means = table.pop("posterior_mean", None)
    if means is not None:
        yield {
            "latent": means.shape[1],
            "active_units": int((means.var(0) > ACTIVE_VARIANCE).sum()),
        }
    per_latent = table.pop("kl_per_latent_nats", None)
    if per_latent is not None:
        yield {"kl_per_latent_nats": per_latent.mean(0).tolist()}
    for name, values in table.items():
        yield mean_with_interval(name, values)


def _measure(model: Model, batch: Batch) -> dict[str, Tensor]:
    seen = Seen(model, *batch)
    measures = {name: measure(seen) for name, measure in per_image(model).items()}
    if isinstance(model, HasPosterior):
        measures["kl_per_latent_nats"] = seen.kl_per_latent
    if isinstance(model, Encodes):
        measures["posterior_mean"] = model.posterior_mean(batch.x)
    return measures


def _likelihood(
    model: Model,
    images: Images,
    device: torch.device,
    seed: int,
    samples: int,
    count: int,
) -> Result:
    if not isinstance(model, HasLikelihood) or not (samples and count):
        return {}
    evaluated = images[:count]
    values: list[NDArray[Any]] = []
    with Progress("importance-weighted likelihood", len(evaluated)) as bar:
        for index, (x, condition) in enumerate(in_order(evaluated, device)):
            torch.manual_seed(seed + index)
            values.append(model.log_likelihood(x, samples, condition).cpu().numpy())
            bar.advance(len(x))
    return {
        **mean_with_interval("log_likelihood_nats", np.concatenate(values)),
        "importance_samples": samples,
        "likelihood_images": len(evaluated),
    }
