"""A net that takes images of any size and gives images of that size: for restoring them."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.nets.options import check_count

MOST_LEVELS = 5


class RestorationNet(nn.Module):
    """Images in, images out: what is to be added to an image is found by a U-Net at half its size.

    Every 2×2 pixels become channels of one; from there on blocks of two 3×3 convolutions, around
    which their input is carried, work at several sizes, each half the one before, on the way down
    and up again. There is neither normalisation nor bias, so that an image with twice the contrast
    and twice the noise gives twice the result: what is learnt at some noise levels serves at
    others.

    Args:
        channels: of the images.
        width: of the widest maps' channels; each smaller size has twice as many.
        levels: sizes.
        blocks: at each size, on each way.
        levelled: whether the net is told how strong the noise is, as a further map.

    Raises:
        UsageError: a size that cannot be built.

    Source: Zhang et al. 2021 (DRUNet) for the net, Zhang et al. 2018 (FFDNet) for working at half
    size, Mohan et al. 2020 for leaving out biases.

    Examples:
        >>> net = RestorationNet(3, width=4)
        >>> net(torch.rand(2, 3, 33, 40)).shape
        torch.Size([2, 3, 33, 40])
    """

    def __init__(
        self,
        channels: int,
        width: int = 32,
        levels: int = 3,
        blocks: int = 2,
        *,
        levelled: bool = False,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("blocks", blocks, 32)
        if not 1 <= levels <= MOST_LEVELS:
            raise UsageError(f"levels must lie between 1 and {MOST_LEVELS}, found {levels}")
        widths = [width << level for level in range(levels)]
        check_count("width at the last level", widths[-1])
        self.levelled = levelled
        self.step = 2 << (levels - 1)
        """Heights and widths are filled up to multiples of this."""
        self.reach = self.step * (2 * blocks + 3) + sum(
            (2 << level) * (4 * blocks + 2) for level in range(levels - 1)
        )
        """How far away a pixel may be that has a part in another one's result, at most."""
        self.head = nn.Conv2d(4 * channels + levelled, width, 3, padding=1, bias=False)
        self.down = nn.ModuleList(_blocks(each, blocks) for each in widths[:-1])
        self.shrink = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in pairwise(widths)
        )
        self.body = _blocks(widths[-1], blocks)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(_blocks(each, blocks) for each in widths[:-1])
        self.tail = nn.Conv2d(width, 4 * channels, 3, padding=1, bias=False)
        nn.init.normal_(self.tail.weight, std=1e-3)  # at first nothing is added

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """The restored images, not clipped.

        Args:
            x: float `[b, c, h, w]`.
            level: standard deviation of the noise, float `[b]`, for a net that is told.
        """
        height, width = x.shape[2:]
        filled = filled_up(x, self.step)
        maps = F.pixel_unshuffle(filled, 2)
        if self.levelled:
            assert level is not None
            noise = level.to(maps.dtype)[:, None, None, None].expand(-1, 1, *maps.shape[2:])
            maps = torch.cat([maps, noise], 1)
        maps = self.head(maps.contiguous(memory_format=torch.channels_last))
        seen: list[Tensor] = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            maps = blocks(maps)
            seen.append(maps)
            maps = shrink(maps)
        maps = self.body(maps)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            maps = blocks(grow(maps) + seen.pop())
        return x + F.pixel_shuffle(self.tail(maps), 2)[..., :height, :width].float()


def filled_up(x: Tensor, step: int) -> Tensor:
    """Images with height and width brought to multiples of a number, by repeating the last pixels.

    Args:
        x: float `[b, c, h, w]`.
        step: the number.

    >>> filled_up(torch.zeros(1, 1, 5, 8), 4).shape
    torch.Size([1, 1, 8, 8])
    """
    missing = [-size % step for size in x.shape[:1:-1]]
    return F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate") if any(missing) else x


class _Block(nn.Module):
    """Two convolutions, around which their input is carried."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.normal_(self.second.weight, std=0.1 / width**0.5)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(F.relu(self.first(maps), inplace=True))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(count)))
