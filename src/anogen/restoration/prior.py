"""A trained prior against damage: the latents whose image, damaged, is most like what was seen."""

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
    """The image of the model that, damaged, is most like one that was seen: float32 `[1, c, h, w]`.

    Adam looks for the latents z that minimise

        ‖known · (blur(decode(z)) − seen)‖² / (2 noise²) + ½ ‖z‖²,

    from several starts at once, of which the best end counts.

    Args:
        model: in evaluation mode.
        seen: float32 `[1, c, h, w]`, of the model's shape.
        known: where pixels are known, bool `[1, 1, h, w]`; default: everywhere.
        blur: standard deviation of the Gaussian that has blurred it, in pixels; 0: none.
        noise: standard deviation of its noise; default: estimated, at least 0.1, which is also
            leeway for what the model cannot draw.
        steps: of Adam.
        starts: drawn by the model's sampler; of a model that encodes, the first is the mean of the
            posterior instead. Of a model that is conditional on classes so many for each class.
        seed: of the starts.

    Source: Bora et al. 2017, equation 3, with the latents' own density.
    """
    sigma = float(noise_level(seen).clamp(min=LEAST_NOISE)) if noise is None else max(noise, 1e-3)
    kinds = list(range(model.classes)) or [None]
    first = torch.cat([_starts(model, starts, seed, kind) for kind in kinds]).to(seen)
    if isinstance(model, Encodes):
        filled = seen if known is None else torch.where(known, seen, seen.new_tensor(0.5))
        with torch.no_grad():
            first[::starts] = model.posterior_mean(filled).float()
    condition = _of_any_text(model, len(first), seen.device)
    if model.classes:
        condition = torch.arange(model.classes, device=seen.device).repeat_interleave(starts)
    blurred = gaussian_blur(blur, seen)

    def judged(z: Tensor) -> tuple[Tensor, Tensor]:
        drawn = model.decode(z, condition)
        error = (blurred(drawn) - seen).square()
        error = error if known is None else error * known
        return drawn, error.sum((1, 2, 3)) / (2 * sigma**2) + 0.5 * z.square().sum(1)

    with torch.enable_grad():
        z = first.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=RATE)
        for _ in range(steps):
            (z.grad,) = torch.autograd.grad(judged(z)[1].sum(), z)
            optimizer.step()
    with torch.no_grad():
        drawn, loss = judged(z)
        return drawn[loss.argmin()][None]


def _of_any_text(model: GenerativeModel, count: int, device: torch.device) -> Tensor | None:
    """Empty texts, for a model that takes texts."""
    condition = model.condition.random(count, None) if model.takes_text else None
    return None if condition is None else condition.to(device)


def _starts(model: GenerativeModel, count: int, seed: int, kind: int | None) -> Tensor:
    condition = None if kind is None else torch.full((count,), kind)
    generator = torch.Generator().manual_seed(seed)
    return own_sampler(model).latents(count, generator, condition)


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
