"""Adaptive augmentation of what a discriminator sees, for games with few images."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.models.adversarial import RELATIVE

IMAGES_TO_CERTAINTY = 100_000
"""Images in which the probability can go from 0 to 1: a fifth of what is published, because small
images are trained on for far fewer."""
LOG_SCALE, LOG_CONTRAST, LOG_SATURATION = 0.2 * math.log(2), 0.5 * math.log(2), math.log(2)
"""Standard deviations of the logarithms of these (Karras et al. 2020a, appendix B)."""


class AdaptiveAugmentation(nn.Module):
    """Transforms images at random, often enough to keep the discriminator from memorising them.

    Each transformation is applied to an image independently, with the probability `probability`:
    mirror, quarter turns, shift, scale, rotation, stretch; brightness, contrast and, in colour, hue
    and saturation. Real and generated images are treated alike, so that a generator learns the
    images as they were, as long as the probability stays below some 0.8.

    The probability rises while the discriminator's verdicts on training images are surer than
    `target` says, and falls while they are not. It is part of the model's state.

    On a GPU the gradient of the interpolation is a sum in no fixed order, so that two trainings
    there differ in their last bits.

    Args:
        target: mean sign of the discriminator's logits of real images (of their differences from
            those of generated ones, with a loss that knows only differences) at which it is held;
            0.6 is published. 0: nothing is augmented.

    Raises:
        UsageError: a target outside [0, 1).

    Source: Karras et al. 2020a, "Training generative adversarial networks with limited data",
    section 3 and appendix B; without its filters and corruptions.

    Examples:
        >>> augment = AdaptiveAugmentation(0.6)
        >>> x = torch.rand(2, 3, 16, 16)
        >>> torch.allclose(augment(x), x, atol=1e-5)  # the probability is still 0
        True
    """

    probability: Tensor

    def __init__(self, target: float) -> None:
        super().__init__()
        if not 0 <= target < 1:
            raise UsageError(f"ada must lie in [0, 1), found {target}; 0.6 is usual, 0 is without")
        self.target = target
        self.register_buffer("probability", torch.zeros(()), persistent=target > 0)

    def forward(self, x: Tensor) -> Tensor:
        """float32 `[b, c, h, w]`, of [0, 1], augmented in training: then it may lie outside."""
        if not self.target or not self.training:
            return x
        with torch.autocast(x.device.type, enabled=False):  # places need more than eight bits
            return self._coloured(self._moved(x.float()))

    @torch.no_grad()
    def follow(self, real: Tensor, fake: Tensor, loss: str) -> None:
        """Move the probability by what the discriminator makes of a batch.

        Args:
            real: logits of real images `[b]`.
            fake: logits of generated ones `[b]`.
            loss: the adversarial loss; of some only the logits' differences mean something.
        """
        if not self.target or not self.training:
            return
        sure = (real - fake if loss in RELATIVE else real).sign().mean()
        step = (sure - self.target).sign() * (len(real) / IMAGES_TO_CERTAINTY)
        self.probability.add_(step).clamp_(0, 1)

    def _some(self, values: Tensor) -> Tensor:
        """Values `[b]`, one for each image, or 0 where a transformation is not made."""
        return values * (torch.rand_like(values) < self.probability)

    def _moved(self, x: Tensor) -> Tensor:
        """All that moves pixels, in one matrix for each image and one interpolation."""
        one = torch.ones(len(x), device=x.device)
        pixels = [torch.full_like(one, side) for side in x.shape[3:1:-1]]  # width and height
        mirror = 1 - 2 * self._some(one.bernoulli(0.5))
        turn = self._some(one * torch.randint_like(one, 4)) * (math.pi / 2)
        shift = [(self._some(_uniform(one)) * side / 8).round() for side in pixels]
        scale = self._some(torch.randn_like(one) * LOG_SCALE).exp()
        rotation = self._some(_uniform(one)) * math.pi
        stretch = self._some(torch.randn_like(one) * LOG_SCALE).exp()
        drift = [self._some(torch.randn_like(one) * side / 8) for side in pixels]
        steps = (
            _scaling(mirror, one), _rotation(turn), _shift(*shift), _scaling(scale, scale),
            _rotation(rotation), _scaling(stretch, 1 / stretch), _shift(*drift),
        )  # fmt: skip
        matrix = functools.reduce(torch.matmul, steps)
        matrix = _scaling(2 / pixels[0], 2 / pixels[1]) @ matrix  # to coordinates of −1 to 1
        matrix = matrix @ _scaling(pixels[0] / 2, pixels[1] / 2)
        grid = F.affine_grid(matrix[:, :2], list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)

    def _coloured(self, x: Tensor) -> Tensor:
        """Brightness and contrast, and of RGB images hue and saturation."""
        one = torch.ones(len(x), device=x.device)
        brightness = self._some(torch.randn_like(one) * 0.2)
        contrast = self._some(torch.randn_like(one) * LOG_CONTRAST).exp()
        x = (x - 0.5 + _per_image(brightness)) * _per_image(contrast) + 0.5
        if x.shape[1] != 3:
            return x
        saturation = self._some(torch.randn_like(one) * LOG_SATURATION).exp()
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * _per_image(saturation)
        return torch.einsum("bdc,bchw->bdhw", _about_grey(self._some(_uniform(one)) * math.pi), x)


def _uniform(like: Tensor) -> Tensor:
    """In [−1, 1), shaped as another tensor."""
    return 2 * torch.rand_like(like) - 1


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Numbers for each image `[b]`, in rows, as matrices `[b, 3, 3]`."""
    return torch.stack([torch.stack(list(row), 1) for row in rows], 1)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _shift(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return _matrix([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations of colours about the axis of greys, which turn hues (Rodrigues' formula)."""
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    third = (1 - cos) / 3
    a, b, c = cos + third, third - sin, third + sin
    return _matrix([[a, b, c], [c, a, b], [b, c, a]])
