"""Nets that keep places: images to a small map of codes, and such maps to images of a domain."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.nets.options import check_count
from anogen.nets.parts import Shape
from anogen.nets.restoration import filled_up

MOST_LEVELS = 5
GROUPS = 4
"""Of channels that are normalised together; every width is a multiple of it."""


class TranslationEncoder(nn.Module):
    """Images in; for each place of a map, some 2^levels times smaller, the mean and log-variance of
    a code.

    A 3×3 convolution, then one of 4×4 with stride 2 for each level, then blocks of two 3×3
    convolutions around which their input is carried; before each, group normalisation and SiLU.

    Args:
        channels: of the images.
        code: length of a code.
        width: channels at full size; each level has twice as many.
        levels: how often the image is halved.
        blocks: at the smallest size.

    Raises:
        UsageError: a size that cannot be built.

    Source: Liu et al. 2017 (UNIT) and Zhu et al. 2017 (CycleGAN) for the plan of such nets.

    Examples:
        >>> mean, log_variance = TranslationEncoder(3, code=8)(torch.rand(2, 3, 30, 40))
        >>> mean.shape
        torch.Size([2, 8, 8, 10])
    """

    def __init__(
        self, channels: int, code: int, *, width: int = 16, levels: int = 2, blocks: int = 1
    ) -> None:
        super().__init__()
        _check(width, levels, blocks)
        self.step = 1 << levels
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            _Shrink(width << level, width << (level + 1)) for level in range(levels)
        )
        self.blocks = nn.ModuleList(_Block(width << levels) for _ in range(blocks))
        self.norm = _Norm(width << levels)
        self.tail = nn.Conv2d(width << levels, 2 * code, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float `[b, c, h, w]` → mean and log-variance, float32 `[b, code, h', w']` each."""
        maps = self.head(filled_up(x, self.step).contiguous(memory_format=torch.channels_last))
        for layer in (*self.down, *self.blocks):
            maps = layer(maps)
        mean, log_variance = self.tail(self.norm(maps)).float().chunk(2, 1)
        return mean, log_variance


class TranslationDecoder(nn.Module):
    """A map of codes in, an image of a domain out: the encoder's mirror.

    What every normalisation is scaled with and what is added after it depend on the domain.

    Args:
        channels: of the images.
        code: length of a code.
        condition: size of the vector that says which domain.
        width: as of the encoder.
        levels: as of the encoder.
        blocks: as of the encoder.

    Raises:
        UsageError: a size that cannot be built.

    Source: Dumoulin et al. 2017 for normalisation that depends on a condition.

    Examples:
        >>> decode = TranslationDecoder(3, code=8, condition=2)
        >>> decode(torch.zeros(1, 8, 8, 10), torch.tensor([[1.0, 0.0]])).shape
        torch.Size([1, 3, 32, 40])
    """

    def __init__(
        self,
        channels: int,
        code: int,
        condition: int,
        *,
        width: int = 16,
        levels: int = 2,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        _check(width, levels, blocks)
        self.head = nn.Conv2d(code, width << levels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width << levels, condition) for _ in range(blocks))
        self.up = nn.ModuleList(
            _Grow(width << (level + 1), width << level, condition)
            for level in reversed(range(levels))
        )
        self.norm = _Norm(width, condition)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, code: Tensor, domain: Tensor) -> Tensor:
        """float `[b, code, h', w']` and `[b, condition]` → float32 `[b, c, h, w]`, unbounded."""
        maps = self.head(code.contiguous(memory_format=torch.channels_last))
        for layer in (*self.blocks, *self.up):
            maps = layer(maps, domain)
        return self.tail(self.norm(maps, domain)).float()


class PatchDiscriminator(nn.Module):
    """Images in; for each place of a map, how real what is seen from there seems, in every domain.

    A 3×3 convolution, one of 4×4 with stride 2, a 3×3 one and another of 4×4 with stride 2, with
    LeakyReLU of slope 0.2, then one of 1×1. From a place 15×15 pixels are seen, so that strokes and
    textures are judged, and not what the whole image shows or how often.

    Args:
        channels: of the images.
        outputs: numbers at each place, one for each domain.
        width: channels at full size.

    Source: Isola et al. 2017, section 2.2.2 (PatchGAN).

    Examples:
        >>> PatchDiscriminator(3, outputs=2)(torch.rand(1, 3, 32, 40)).shape
        torch.Size([1, 2, 8, 10])
    """

    def __init__(self, channels: int, outputs: int, *, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.Conv2d(2 * width, 4 * width, 3, padding=1),
                nn.Conv2d(4 * width, 4 * width, 4, 2, 1),
            ]
        )
        self.head = nn.Conv2d(4 * width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, outputs, h', w']`."""
        return self.from_features(self.features(x))

    def from_features(self, features: list[Tensor]) -> Tensor:
        """The numbers, float `[b, outputs, h', w']`, from what `features` gave."""
        return self.head(features[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """What each layer but the last gives, first to last: float `[b, channels, h', w']`."""
        maps: list[Tensor] = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            maps.append(x)
        return maps


def code_size(shape: Shape, levels: int) -> tuple[int, int]:
    """Height and width of the map of codes of an image.

    >>> code_size((1, 28, 30), 2)
    (7, 8)
    """
    step = 1 << levels
    return -(-shape[1] // step), -(-shape[2] // step)


class _Norm(nn.Module):
    """Group normalisation, scaled and shifted as a condition says, then SiLU."""

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, affine=not condition)
        self.scale_and_shift = nn.Linear(condition, 2 * width) if condition else None
        if self.scale_and_shift is not None:
            nn.init.normal_(self.scale_and_shift.weight, std=0.02)
            nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        maps = self.norm(maps)
        if self.scale_and_shift is not None:
            both = self.scale_and_shift(condition).to(maps.dtype)[:, :, None, None]
            scale, shift = both.chunk(2, 1)
            maps = torch.addcmul(shift, maps, 1 + scale)
        return F.silu(maps)


class _Block(nn.Module):
    """Two convolutions, around which their input is carried."""

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_Norm(width, condition) for _ in range(2))
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        inner = self.first(self.norms[0](maps, condition))
        return maps + self.second(self.norms[1](inner, condition))


class _Shrink(nn.Module):
    """Half the height and width."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.norm = _Norm(fine)
        self.convolution = nn.Conv2d(fine, coarse, 4, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.convolution(self.norm(maps))


class _Grow(nn.Module):
    """Twice the height and width."""

    def __init__(self, coarse: int, fine: int, condition: int) -> None:
        super().__init__()
        self.norm = _Norm(coarse, condition)
        self.convolution = nn.ConvTranspose2d(coarse, fine, 4, 2, 1)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        return self.convolution(self.norm(maps, condition))


def _check(width: int, levels: int, blocks: int) -> None:
    check_count("blocks", blocks, 32)
    if not 1 <= levels <= MOST_LEVELS:
        raise UsageError(f"levels must lie between 1 and {MOST_LEVELS}, found {levels}")
    check_count("width at the last level", width << levels)
    if width % GROUPS or width < GROUPS:
        raise UsageError(f"width must be a multiple of {GROUPS}, found {width}")
