"""New images from a model, from its prior or from a mixture fitted to where the data lies."""

from collections.abc import Iterator
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from anogen.data.batches import in_order
from anogen.data.images import Images
from anogen.data.splits import expect
from anogen.errors import UsageError, unknown_name
from anogen.models.base import Encodes, GenerativeModel

FITTED_IMAGES = 20_000
"""A mixture is fitted to at most as many posterior means."""


SamplerName = Literal["prior", "mixture"]


class Sampler(Protocol):
    """Where latents come from.

    Attributes:
        name: what pictures and tables call it.
    """

    name: str

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        """float32 `[count, latent]`; a condition for each, where the model is conditional."""
        ...


def draw(
    model: GenerativeModel,
    count: int,
    generator: Generator,
    size: int,
    condition: Tensor | None = None,
    sampler: Sampler | None = None,
) -> Iterator[Tensor]:
    """`count` new images, at most `size` at a time: float `[≤ size, c, h, w]` in [0, 1].

    Args:
        model: in evaluation mode.
        count: how many.
        generator: of the draws, on the processor.
        size: of a pass.
        condition: one for each, for a conditional model; default: drawn uniformly.
        sampler: of the latents; default: the model's prior.
    """
    device = next(model.parameters()).device
    if condition is None:
        condition = model.condition.random(count, generator)
    for start in range(0, count, size):
        number = min(size, count - start)
        part = None if condition is None else condition[start : start + number]
        if sampler is None:
            yield model.sample(number, generator, part)
        else:
            z = sampler.latents(number, generator, part).to(device)
            yield model.decode(z, None if part is None else part.to(device))


def make_sampler(
    name: SamplerName, model: GenerativeModel, images: Images | None, components: int = 10
) -> Sampler | None:
    """The sampler of a name; None for the prior.

    Args:
        name: `prior`, or `mixture`.
        model: in evaluation mode.
        images: to which a mixture is fitted, the training images.
        components: of a mixture.

    Raises:
        UsageError: an unknown name, or a mixture without images or for a model that cannot encode.
    """
    if name not in get_args(SamplerName):
        raise unknown_name("sampler", name, get_args(SamplerName))
    if name == "prior":
        return None
    if images is None:
        raise UsageError("the sampler mixture needs the images that the model was trained on")
    return MixtureSampler(model, images, components)


class MixtureSampler:
    """Latents from a Gaussian mixture with full covariances, fitted to posterior means.

    Two-stage sampling: a VAE that reconstructs sharply leaves holes between the posteriors of the
    data, where its prior puts most samples; the mixture puts them where the data lies. For a
    conditional model there is one mixture for each label.

    Args:
        model: one that encodes, in evaluation mode.
        images: what the model was trained on; at most 20,000 of them are used, evenly spaced.
        components: Gaussians of each mixture; fewer where there are few images.
        seed: of the fit.

    Raises:
        UsageError: the model does not encode, or a label has fewer than two images.

    Source: Ghosh et al. 2020, section 4 (ex-post density estimation); cf. Dai & Wipf 2019.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> sampler = MixtureSampler(anogen.VAE(digits.shape, latent=2).eval(), digits.train, 3)
        >>> sampler.latents(5, torch.Generator().manual_seed(0), None).shape
        torch.Size([5, 2])
    """

    name = "mixture"

    def __init__(
        self, model: GenerativeModel, images: Images, components: int = 10, seed: int = 0
    ) -> None:
        expect(images, Images, "MixtureSampler")
        if not isinstance(model, Encodes):
            raise UsageError(
                f"{type(model).__name__} does not encode images, so that no mixture can be fitted; "
                "sample from its prior"
            )
        if components < 1:
            raise UsageError(f"components must be at least 1, found {components}")
        if model.classes and images.labels is None:
            raise UsageError(f"a mixture for each label needs labels, and {images.name} has none")
        fitted = images[:: -(-len(images) // FITTED_IMAGES)]
        device = next(model.parameters()).device
        with torch.inference_mode():
            means = torch.cat([model.posterior_mean(b.x).cpu() for b in in_order(fitted, device)])
        groups = [slice(None)]
        if model.classes and fitted.labels is not None:
            groups = [fitted.labels == label for label in range(model.classes)]
        self._mixtures = [_fit(means.double().numpy()[group], components, seed) for group in groups]

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        """float32 `[count, latent]`, drawn with `generator`."""
        if condition is None or len(self._mixtures) == 1:
            condition = torch.zeros(count, dtype=torch.int64)
        uniform = torch.rand(count, generator=generator, dtype=torch.float64)
        latent = self._mixtures[0].means_.shape[1]
        noise = torch.randn(count, latent, generator=generator, dtype=torch.float64)
        z = np.empty((count, latent))
        for index, mixture in enumerate(self._mixtures):
            rows = np.flatnonzero(condition.numpy() == index)
            component = np.searchsorted(np.cumsum(mixture.weights_), uniform[rows].numpy())
            component = component.clip(max=len(mixture.weights_) - 1)
            roots = np.linalg.cholesky(mixture.covariances_)[component]
            z[rows] = mixture.means_[component] + np.einsum(
                "nij,nj->ni", roots, noise[rows].numpy()
            )
        return torch.from_numpy(z).float()


def _fit(means: np.ndarray, components: int, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    if len(means) < 2:
        raise UsageError("a mixture needs two images or more of every label")
    if not np.isfinite(means).all():
        raise UsageError("not all posterior means are finite, so that no mixture can be fitted")
    number = min(components, max(1, len(means) // (2 * means.shape[1])))
    return GaussianMixture(number, reg_covar=1e-4, random_state=seed, max_iter=200).fit(means)
