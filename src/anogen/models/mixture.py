"""Latents from a Gaussian mixture."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from anogen.data.images import Images
from anogen.device import own_randomness
from anogen.errors import UsageError, first_line, whole_number
from anogen.models.base import Model
from anogen.models.encoding import encoded

FITTED_IMAGES = 20_000
"""A mixture is fitted to at most as many."""
MAX_ITERATIONS = 50
COMPONENTS = 100
"""Of a mixture, where there are twice as many images as latents for each: see docs/results."""


@dataclass(frozen=True)
class MixtureSampler:
    """Latents from a Gaussian mixture with full covariances, fitted to encoded images.

    For a conditional model there is one mixture for each class.

    Attributes:
        weights: of the components, float64 `[classes or 1, components]`.
        means: float64 `[classes or 1, components, latent]`.
        roots: Cholesky factors of the covariances, float64 `[..., latent, latent]`.

    Source: Ghosh et al. 2020, section 4 (ex-post density estimation); cf. Dai & Wipf 2019.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> vae = anogen.VAE(digits.shape, latent=2).eval()
        >>> sampler = MixtureSampler.fit(vae, digits.train, 3)
        >>> sampler.latents(5, torch.Generator().manual_seed(0), None).shape
        torch.Size([5, 2])
    """

    weights: Tensor
    means: Tensor
    roots: Tensor
    name: ClassVar[str] = "mixture"

    @classmethod
    def fit(
        cls, model: Model, images: Images, components: int = COMPONENTS, seed: int = 0
    ) -> "MixtureSampler":
        """Fitted to a latent from each posterior of at most 20,000 images, evenly spaced.

        Args:
            model: one that encodes, in evaluation mode.
            images: what the model was trained on.
            components: Gaussians of each mixture; fewer where there are few images.
            seed: of the fit.

        Raises:
            UsageError: the model does not encode, or a class has fewer than two images.
        """
        latents = encoded(model, images, FITTED_IMAGES)
        with own_randomness():
            torch.manual_seed(seed)
            z = latents.drawn()
        return cls.of_latents(z, latents.classes, components, seed)

    @classmethod
    def of_latents(
        cls, z: Tensor, classes: Tensor, components: int = COMPONENTS, seed: int = 0
    ) -> "MixtureSampler":
        """Fitted to latents, float `[n, latent]`, of classes `[n]`, two or more of each.

        Raises:
            UsageError: less than one component.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        if whole_number("components", components) < 1:
            raise UsageError(f"components must be at least 1, found {components}")
        groups = [z[classes == each].double().numpy() for each in range(int(classes.max()) + 1)]
        numbers = [min(components, max(1, len(group) // (2 * z.shape[1]))) for group in groups]
        weights = torch.zeros(len(groups), max(numbers), dtype=torch.float64)
        means = torch.zeros(*weights.shape, z.shape[1], dtype=torch.float64)
        roots = torch.zeros(*means.shape, z.shape[1], dtype=torch.float64)
        for index, (group, number) in enumerate(zip(groups, numbers, strict=True)):
            fitted = GaussianMixture(
                number, reg_covar=1e-4, random_state=seed, max_iter=MAX_ITERATIONS
            )
            with warnings.catch_warnings():  # one that stops early is as good
                warnings.simplefilter("ignore", ConvergenceWarning)
                try:
                    fitted.fit(group)
                except ValueError as error:
                    raise UsageError(f"no mixture can be fitted ({first_line(error)})") from error
            weights[index, :number] = torch.from_numpy(fitted.weights_)
            means[index, :number] = torch.from_numpy(fitted.means_)
            roots[index, :number] = torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))
        return cls(weights, means, roots)

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        """float32 `[count, latent]`, drawn with `generator`."""
        if condition is None or len(self.weights) == 1:
            condition = torch.zeros(count, dtype=torch.int64)
        if condition.is_floating_point():
            raise UsageError("a mixture for each class needs classes, not vectors of them; sample "
                             "from the prior")  # fmt: skip
        uniform = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, self.means.shape[2], generator=generator, dtype=torch.float64)
        sums = self.weights.cumsum(1)[condition]
        component = (uniform > sums / sums[:, -1:]).sum(1)
        z = torch.empty_like(noise)
        place = condition * self.weights.shape[1] + component
        for each in place.unique().tolist():  # so that no root is copied for every latent
            rows = place == each
            root = self.roots.flatten(0, 1)[each]
            z[rows] = self.means.flatten(0, 1)[each] + noise[rows] @ root.T
        return z.float()

    def state(self) -> dict[str, Tensor]:
        """The three tensors."""
        return {"weights": self.weights, "means": self.means, "roots": self.roots}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> "MixtureSampler":
        """The sampler that `state` was taken of.

        Raises:
            KeyError, ValueError: it was not.
        """
        weights, means, roots = (state[name].double() for name in ("weights", "means", "roots"))
        *shape, latent = means.shape
        fits = weights.shape == (*shape,) and roots.shape == (*shape, latent, latent)
        if not fits or len(shape) != 2:
            raise ValueError("sizes of tensors differ")
        if not all(bool(each.isfinite().all()) for each in (weights, means, roots)):
            raise ValueError("not all numbers are finite")
        return cls(weights, means, roots)
