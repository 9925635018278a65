"""Training images as the latents that a sampler is fitted to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from anogen.data.batches import in_order
from anogen.data.images import Images
from anogen.data.splits import expect
from anogen.errors import UsageError
from anogen.models.base import Encodes, HasPosterior, Model


@dataclass(frozen=True)
class Encoded:
    """Images as a model encodes them.

    Attributes:
        means: of the posteriors, float32 `[n, latent]`.
        scales: their standard deviations; zeros where a model has none.
        classes: what each is conditional on, int64 `[n]`; zeros where a model is on nothing.
    """

    means: Tensor
    scales: Tensor
    classes: Tensor

    def drawn(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """A latent from the posterior of each image, which is what a decoder is trained on."""
        means = self.means[rows]
        return means + self.scales[rows] * torch.randn_like(means)


def encoded(model: Model, images: Images, most: int) -> Encoded:
    """Images as latents.

    Args:
        model: one that encodes, in evaluation mode.
        images: what the model was trained on; evenly spaced ones of them.
        most: how many images at most.

    Raises:
        UsageError: the model does not encode, what it encodes is not finite, or a class has fewer
            than two images.
    """
    expect(images, Images, "a mixture")
    if not isinstance(model, Encodes):
        raise UsageError(
            f"{type(model).__name__} does not encode images, so that no mixture can be fitted; "
            "sample from its prior"
        )
    if model.classes and images.labels is None:
        raise UsageError(f"a mixture for each class needs labels, and {images.name} has none")
    part = images[:: -(-len(images) // most)]
    device = next(model.parameters()).device
    means: list[Tensor] = []
    scales: list[Tensor] = []
    with torch.inference_mode():
        for x, _ in in_order(part, device):
            if isinstance(model, HasPosterior):
                mean, logvar = model.posterior(x)
                scale = torch.exp(0.5 * logvar)
            else:
                mean = model.posterior_mean(x)
                scale = torch.zeros_like(mean)
            means.append(mean.float().cpu())
            scales.append(scale.float().cpu())
    all_means, all_scales = torch.cat(means).clone(), torch.cat(scales).clone()  # outside inference
    if not bool((all_means.isfinite() & all_scales.isfinite()).all()):
        raise UsageError("not all posteriors are finite, so that no mixture can be fitted")
    classes = torch.zeros(len(all_means), dtype=torch.int64)
    if model.classes and part.labels is not None:
        classes = torch.from_numpy(part.labels).long()
    if int(torch.bincount(classes, minlength=max(1, model.classes)).min()) < 2:
        raise UsageError("a mixture needs two images or more of every label")
    return Encoded(all_means, all_scales, classes)
