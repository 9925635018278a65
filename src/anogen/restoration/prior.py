"""A trained prior against damage: the latents whose image, damaged, is most like what was seen."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.models.base import Encodes, GenerativeModel
from anogen.models.restorer import noise_level
from anogen.models.sampling import own_sampler

RATE = 0.05
LEAST_NOISE = 0.1
"""Of what is seen the model is given this much leeway, standard deviation, full range 1."""


def most_likely(
    model: GenerativeModel,
    seen: Tensor,
    *,
    known: Tensor | None = None,
    blur: float = 0.0,
    noise: float | None = None,
    steps: int = 300,
    starts: int = 4,
    seed: int = 0,
) -> Tensor:
    """Images of the model that, damaged, are like those that were seen: float32 `[b, c, h, w]`.

    For each image, Adam looks for the latents z that minimise

        ‖known · (blur(decode(z)) − seen)‖² / (2 noise²) + ½ ‖z‖²,

    from several starts, of which the best end counts.

    Args:
        model: in evaluation mode.
        seen: float32 `[b, c, h, w]`, of the model's shape.
        known: where pixels are known, bool `[b, 1, h, w]`; default: everywhere.
        blur: standard deviation of the Gaussian that has blurred them, in pixels; 0: none.
        noise: standard deviation of their noise; default: estimated from each, at least 0.1, which
            is also leeway for what the model cannot draw.
        steps: of Adam.
        starts: drawn by the model's sampler, the same for all images; of a model that encodes, one
            of them is the mean of the posterior instead. Of a model that is conditional on classes
            so many for each class.
        seed: of the starts.

    Source: Bora et al. 2017, equation 3, with the latents' own density.
    """
    if noise is None:
        sigma = noise_level(seen).clamp(min=LEAST_NOISE)
    else:
        sigma = seen.new_full((len(seen),), max(noise, 1e-3))
    classes = list(range(model.classes)) or [None]
    first = [
        (start.expand(len(seen), -1).to(seen), kind)
        for kind in classes
        for start in _starts(model, starts, seed, kind)
    ]
    if isinstance(model, Encodes):
        filled = seen if known is None else torch.where(known, seen, seen.new_tensor(0.5))
        with torch.no_grad():
            mean = model.posterior_mean(filled).float()
        first = [(mean, first[i][1]) if i % starts == 0 else first[i] for i in range(len(first))]
    blurred = gaussian_blur(blur, seen)
    best = seen.new_full((len(seen),), math.inf)
    images = torch.zeros_like(seen)
    for start, kind in first:
        condition = None if kind is None else seen.new_full((len(seen),), kind).long()
        with torch.enable_grad():
            z = start.clone().requires_grad_()
            optimizer = torch.optim.Adam([z], lr=RATE)
            y, weight = seen, 0.5 / sigma.square()

            def judged(
                z: Tensor,
                y: Tensor = y,
                weight: Tensor = weight,
                condition: Tensor | None = condition,
            ) -> tuple[Tensor, Tensor]:
                drawn = model.decode(z, condition)
                error = (blurred(drawn) - y).square()
                error = error if known is None else error * known
                return drawn, error.sum((1, 2, 3)) * weight + 0.5 * z.square().sum(1)

            for _ in range(steps):
                (z.grad,) = torch.autograd.grad(judged(z)[1].sum(), z)
                optimizer.step()
        with torch.no_grad():
            drawn, loss = judged(z)
        better = loss < best
        best = torch.where(better, loss, best)
        images = torch.where(better[:, None, None, None], drawn, images)
    return images


def _starts(model: GenerativeModel, count: int, seed: int, kind: int | None) -> tuple[Tensor, ...]:
    condition = None if kind is None else torch.full((count,), kind)
    generator = torch.Generator().manual_seed(seed)
    return own_sampler(model).latents(count, generator, condition).split(1)


def gaussian_blur(sigma: float, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Blurs images `[b, c, h, w]` by a Gaussian, as the transformation `blur` does.

    Args:
        sigma: its standard deviation in pixels; 0: images stay as they are.
        like: of the type and on the device of the images.
    """
    if not sigma:
        return lambda x: x
    reach = max(1, int(4 * sigma + 0.5))
    place = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = kernel / kernel.sum()

    def blur(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = _mirrored(height, reach, x.device)
        columns = _mirrored(width, reach, x.device)
        wide = x[:, :, rows][..., columns].flatten(0, 1)[:, None]
        down = F.conv2d(wide, kernel[None, None, :, None])
        return F.conv2d(down, kernel[None, None, None]).view(x.shape)

    return blur


def _mirrored(size: int, reach: int, device: torch.device) -> Tensor:
    """Indices of a line with as much of its mirror image at both ends, the last pixel twice."""
    place = torch.arange(-reach, size + reach, device=device) % (2 * size)
    return torch.where(place < size, place, 2 * size - 1 - place)
