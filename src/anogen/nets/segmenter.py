"""A net that marks pixels: down to small maps, and up again beside what was seen on the way."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.nets.parts import Shape

WIDTH = 16
LEVELS = 5
"""Sizes of maps, each half the one before; fewer for small images."""
SMALLEST = 4
"""Height and width of the smallest maps, at least."""


class Segmenter(nn.Module):
    """Images in, the logit of being marked for each pixel out.

    Args:
        inputs: channels of the images.
        shape: of the images; only their size matters, and only for the number of levels.

    Source: the U-Net of Ronneberger et al. 2015, small, with batch normalisation.

    Examples:
        >>> net, x = Segmenter(2, (1, 32, 32)), torch.zeros(3, 2, 32, 32)
        >>> net(x).shape, [seen.shape[1] for seen in net.features(x)]
        (torch.Size([3, 1, 32, 32]), [16, 32, 64, 64])
    """

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        levels = 1
        while levels < LEVELS and min(shape[1:]) >> levels >= SMALLEST:
            levels += 1
        widths = [min(WIDTH << level, 4 * WIDTH) for level in range(levels)]
        self.down = nn.ModuleList(
            _block(before, after) for before, after in pairwise([inputs, *widths])
        )
        self.up = nn.ModuleList(_block(fine + coarse, fine) for fine, coarse in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """What is seen on the way down, finest first: float32 `[b, k, h', w']`."""
        seen: list[Tensor] = []
        for index, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if index else x)
            seen.append(x)
        return seen

    def forward(self, x: Tensor) -> Tensor:
        """float32 `[b, inputs, h, w]` → float32 `[b, 1, h, w]`."""
        seen = self.features(x)
        x = seen[-1]
        for fine, block in zip(seen[-2::-1], reversed(list(self.up)), strict=True):
            x = block(torch.cat([fine, F.interpolate(x, fine.shape[2:], mode="nearest")], 1))
        return self.head(x)


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(*(
        layer
        for before in (inputs, outputs)
        for layer in (
            nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
    ))  # fmt: skip
