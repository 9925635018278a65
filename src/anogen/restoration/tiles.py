"""Images of any size through a net, in tiles that leave no seam."""

import torch
from torch import Tensor

from anogen.models.restorer import Restorer
from anogen.nets.restoration import filled_up

TILE = 1024
"""Height and width of the largest piece that the net is given."""
MARGINS = 4
"""A tile is at least so many times as large as what is seen on one side of it."""


def restored(model: Restorer, x: Tensor, level: Tensor | None = None, tile: int = TILE) -> Tensor:
    """What a `Restorer` makes of images, in memory that hardly grows with their size.

    An image that is larger than a tile is restored piece by piece. Each piece is seen with as much
    of what surrounds it as can have a part in its result, so that this is what it would be without
    tiles, but for rounding in the last bits. The images themselves are held whole.

    Args:
        model: in evaluation mode.
        x: float32 `[b, c, h, w]`.
        level: of the noise, float32 `[b]`, for a model that is told; default: estimated.
        tile: see above; enlarged where the net sees so far that most of a piece would be margin.

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
    step = model.step
    margin = (model.net.reach // step + 1) * step
    tile = max(tile, MARGINS * margin)
    if max(height, width) <= tile:
        return model.restore(x, level).clamp(0, 1)
    filled = filled_up(x, step)
    out = torch.empty_like(x)
    core = (tile - 2 * margin) // step * step
    for top in range(0, height, core):
        for left in range(0, width, core):
            above, before = min(margin, top), min(margin, left)
            piece = filled[..., top - above : top + core + margin,
                           left - before : left + core + margin]  # fmt: skip
            result = model.restore(piece, level).clamp(0, 1)
            bottom, right = min(core, height - top), min(core, width - left)
            out[..., top : top + bottom, left : left + right] = result[
                ..., above : above + bottom, before : before + right
            ]
    return out
