"""Images of any size through a net, in tiles that leave no seam."""

import torch
from torch import Tensor

from anogen.models.restorer import Restorer
from anogen.nets.restoration import filled_up

TILE = 1024
"""Height and width of the largest piece that the net is given."""
PASS = 1 << 20
"""Pixels of small images in one pass."""


def restored(model: Restorer, x: Tensor, level: Tensor | None = None, tile: int = TILE) -> Tensor:
    """What a `Restorer` makes of images, in memory that does not grow with their size.

    An image that is larger than a tile is restored piece by piece. Each piece is seen with as much
    of what surrounds it as can have a part in its result, so that this is what it would be without
    tiles, but for rounding in the last bits.

    Args:
        model: in evaluation mode.
        x: float32 `[b, c, h, w]`.
        level: of the noise, float32 `[b]`, for a model that is told; default: estimated.
        tile: see above; at least as large as what surrounds a piece.

    Returns:
        float32 `[b, c, h, w]` in [0, 1].

    Examples:
        >>> model = Restorer((1, 16, 16), width=2, levels=1, blocks=1).eval()
        >>> x = torch.rand(1, 1, 90, 70)
        >>> torch.allclose(restored(model, x, tile=64), model.reconstruct(x), atol=1e-6)
        True
    """
    if not model.blind and level is None:
        level = model.level_of(x)
    height, width = x.shape[2:]
    if max(height, width) <= tile:
        size = max(1, PASS // (height * width))
        levels = [None] * len(x) if level is None else level.split(size)
        parts = zip(x.split(size), levels, strict=False)
        return torch.cat([model.restore(*part).clamp(0, 1) for part in parts])
    step = model.step
    filled = filled_up(x, step)
    out = torch.empty_like(x)
    margin = (model.net.reach // step + 1) * step
    core = max(step, (tile - 2 * margin) // step * step)
    for top in range(0, height, core):
        for left in range(0, width, core):
            above, before = min(margin, top), min(margin, left)
            piece = filled[..., top - above : top + core + margin,
                           left - before : left + core + margin]  # fmt: skip
            result = torch.cat([
                model.restore(*one).clamp(0, 1)
                for one in zip(piece.split(1), _ones(level, len(x)), strict=True)
            ])  # fmt: skip
            bottom, right = min(core, height - top), min(core, width - left)
            out[..., top : top + bottom, left : left + right] = result[
                ..., above : above + bottom, before : before + right
            ]
    return out


def _ones(level: Tensor | None, count: int) -> list[Tensor | None]:
    return [None] * count if level is None else list(level.split(1))
