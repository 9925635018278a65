"""The style-based generator: a mapping network, and a synthesis network that it modulates."""

import functools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.nets.options import NetOptions, complete, filters, sizes
from anogen.nets.parts import Shape

SLOPE = 0.2
GAIN = math.sqrt(2)
"""What keeps the variance through a leaky ReLU, as in the published networks."""


MAPPING_RATE = 0.1
"""Learning rate of the mapping network beside the others'. Published is 0.01 (Karras et al. 2019,
appendix C), for trainings a thousand times as long as those of small images."""
GROUPS = (4, 3, 2)
"""Images over which a minibatch statistic is taken: as many as divide the batch."""
STATISTIC_DECAY = 0.99
"""Of the running mean of a discriminator's minibatch statistic."""


class EqualisedLinear(nn.Module):
    """A dense layer whose weights have unit size and are scaled where they are used.

    With an optimiser such as Adam, whose steps do not depend on the size of gradients, all layers
    then learn at the same relative speed, or slower by a factor.

    Args:
        inputs: length of the vectors in.
        outputs: length of the vectors out.
        bias: what the biases begin with.
        rate: share of the learning rate at which this layer learns.

    Source: Karras et al. 2018 (progressive growing), section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, outputs]`."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualisedConv(nn.Module):
    """A convolution with weights as `EqualisedLinear`'s, a bias and a leaky ReLU.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd size of the kernel; the image keeps its size.
        halve: halve the image's size (rounded up), after a low-pass filter.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, halve: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale, self.halve = GAIN / math.sqrt(kernel**2 * inputs), halve
        self.low_pass = LowPass() if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, inputs, h, w]` → float `[b, outputs, h, w]`, or of half the size."""
        stride, padding = (2, 0) if self.halve else (1, self.weight.shape[2] // 2)
        y = F.conv2d(self.low_pass(x), self.weight * self.scale, self.bias, stride, padding)
        return F.leaky_relu(y, SLOPE)


class LowPass(nn.Module):
    """The filter [1, 3, 3, 1] in both directions, by which a size is halved without aliases.

    Args:
        stride: 2 halves the size (rounded up); 1 leaves the halving to a 3×3 convolution of stride
            2 without padding, which then gives half the size (rounded up), too.

    Source: Zhang 2019; Karras et al. 2020, appendix B.

    Examples:
        >>> LowPass(2)(torch.ones(1, 1, 7, 8)).shape
        torch.Size([1, 1, 4, 4])
    """

    kernel: Tensor

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", line[:, None] * line, persistent=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, c, h + 1, w + 1]`, one more where that is odd; with
        stride 2 `[b, c, h / 2, w / 2]`.
        """
        before = 2 // self.stride
        height, width = (before + size % 2 for size in x.shape[2:])
        x = F.pad(x, (before, width, before, height))
        with torch.autocast(x.device.type, enabled=False):  # slow in bfloat16
            kernel = self.kernel.expand(x.shape[1], 1, 4, 4)
            return F.conv2d(x.float(), kernel, stride=self.stride, groups=x.shape[1]).to(x.dtype)


class MappingNetwork(nn.Module):
    """Latents to styles: normalised, then through `layers` dense layers, which learn slowly.

    The vector of a condition is embedded and normalised by itself, and joins the latent.

    Args:
        latent: length of the latents.
        style: length of the styles.
        layers: how many dense layers.
        condition: length of a condition's vector; 0: there is none.

    Source: Karras et al. 2019, section 2 and appendix C; of conditions, Karras et al. 2020a (ADA),
    appendix C.

    Examples:
        >>> MappingNetwork(8, 16)(torch.zeros(3, 8)).shape
        torch.Size([3, 16])
    """

    def __init__(self, latent: int, style: int, layers: int = 4, condition: int = 0) -> None:
        super().__init__()
        self.embedding = EqualisedLinear(condition, latent) if condition else None
        self.layers = nn.ModuleList(
            EqualisedLinear(before, after, rate=MAPPING_RATE)
            for before, after in pairwise([latent * (2 if condition else 1), *[style] * layers])
        )

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """float `[b, latent]` and, where there is a condition, `[b, condition]` → `[b, style]`."""
        z = _normalised(z)
        if self.embedding is not None:
            assert condition is not None  # `Condition` has seen to it
            z = torch.cat([z, _normalised(self.embedding(condition))], 1)
        for layer in self.layers:
            z = F.leaky_relu(layer(z), SLOPE) * GAIN
        return z


def _normalised(z: Tensor) -> Tensor:
    """Vectors `[b, n]` with a mean square of 1."""
    return z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, and its outputs back to unit size.

    Scaling the weights per image (equations 1 and 3 of the source) equals scaling the input's
    channels before, and the output's after, an ordinary convolution with shared weights; that is
    how it is computed.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd size of the kernel; the image keeps its size.
        style: length of the style vector.
        demodulate: divide each output channel by its expected standard deviation.

    Source: Karras et al. 2020, section 2.2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style: int, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """float `[b, inputs, h, w]`, `[b, style]` → float `[b, outputs, h, w]`."""
        scale, weight = self.affine(style), self.weight * self.scale
        y = F.conv2d(x * scale[:, :, None, None], weight, padding=weight.shape[2] // 2)
        if not self.demodulate:
            return y
        power = weight.float().square().sum((2, 3))
        with torch.autocast(x.device.type, enabled=False):
            size = torch.rsqrt(scale.float().square() @ power.T + 1e-8)
        return y * size[:, :, None, None].to(y.dtype)


class StyledLayer(nn.Module):
    """A modulated 3×3 convolution, noise of a learnt strength, a bias and a leaky ReLU.

    Where the input is smaller than `size`, the convolution comes first and is then doubled by a
    filter [1, 3, 3, 1] (which bilinear interpolation is): a quarter of the work of the published
    order.

    The noise is drawn anew in training; in evaluation mode it is a fixed pattern, so that the same
    latent gives the same image.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.size = size
        self.register_buffer("noise", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None = None) -> Tensor:
        """float `[b, inputs, h, w]`, `[b, style]`, noise `[b, 1, h, w]` → `[b, outputs, h, w]`."""
        y = doubled(self.conv(x, style), self.size)
        if noise is None and self.training:
            noise = torch.randn(len(x), 1, *y.shape[2:], device=x.device, dtype=torch.float32)
        elif noise is None:
            noise = self.noise
        y = y + (self.noise_strength * noise + self.bias).to(y.dtype)
        return F.leaky_relu(y, SLOPE) * GAIN


def doubled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Features `[b, c, h, w]` at twice their size, cut to `size`; as they are, if that is theirs.

    >>> doubled(torch.tensor([[[[0.0, 1.0]]]]), (1, 3))
    tensor([[[[0.0000, 0.2500, 0.7500]]]])
    """
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")[:, :, : size[0], : size[1]]


class SynthesisNetwork(nn.Module):
    """Styles to images: a learnt constant, grown by styled layers, with an image at every size.

    The constant has the smallest size of `ConvEncoder`'s path, and each doubling has two styled
    layers. Every size contributes an image, and their upsampled sum is the output.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        style: length of the style vector.
        options: `width`, `growth`, `widths` and `depth` of `NetOptions`; the others play no part.

    Attributes:
        layers_count: styled layers, each of which takes a style of its own.
        noise_sizes: height and width of the noise of every styled layer.

    Raises:
        UsageError: images too small, or too small for `depth`.

    Source: Karras et al. 2019, section 2; Karras et al. 2020, figure 7 (output skips).

    Examples:
        >>> net = SynthesisNetwork((1, 28, 28), style=16)
        >>> net(torch.zeros(3, net.layers_count, 16)).shape
        torch.Size([3, 1, 28, 28])
    """

    def __init__(self, shape: Shape, style: int, **options: Unpack[NetOptions]) -> None:
        super().__init__()
        widths = filters(shape, complete(options))[::-1]
        self.path = sizes(shape, len(widths) - 1)[::-1]
        self.constant = nn.Parameter(torch.randn(1, widths[0], *self.path[0]))
        layers = [StyledLayer(widths[0], widths[0], style, self.path[0])]
        for (before, after), size in zip(pairwise(widths), self.path[1:], strict=True):
            layers.append(StyledLayer(before, after, style, size))
            layers.append(StyledLayer(after, after, style, size))
        self.layers = nn.ModuleList(layers)
        self.noise_sizes = [layer.size for layer in layers]
        self.to_image = nn.ModuleList(
            ModulatedConv(count, shape[0], 1, style, demodulate=False) for count in widths
        )
        self.image_bias = nn.Parameter(torch.zeros(shape[0], 1, 1))
        self.layers_count = len(layers)

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """float `[b, layers_count, style]` → float `[b, c, h, w]`, unbounded."""
        each = noise or [None] * self.layers_count
        x = self.constant.expand(len(styles), -1, -1, -1)
        x = self.layers[0](x.contiguous(memory_format=torch.channels_last), styles[:, 0], each[0])
        image = self.to_image[0](x, styles[:, 0])
        for index, size in enumerate(self.path[1:], 1):
            for layer in (2 * index - 1, 2 * index):
                x = self.layers[layer](x, styles[:, layer], each[layer])
            image = doubled(image, size) + self.to_image[index](x, styles[:, 2 * index])
        return image + self.image_bias


class ResidualBlock(nn.Module):
    """Two convolutions, the second of which halves the size, beside a straight way of the same.

    Source: Karras et al. 2020, section 4.1 and figure 7.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            EqualisedConv(inputs, inputs), EqualisedConv(inputs, outputs, halve=True)
        )
        self.low_pass = LowPass(2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, inputs, h, w]` → float `[b, outputs, h / 2, w / 2]`, rounded up."""
        straight = F.conv2d(self.low_pass(x), self.weight * self.scale)
        return (self.convs(x) + straight) / GAIN


class StyleDiscriminator(nn.Module):
    """Images in, one number or several out, with an eye for the variety of the batch.

    A convolution, or a residual block, for every halving of the size, with equalised learning rates
    and without normalisation. Before the last convolution a channel is added that holds the
    minibatch statistic: the standard deviation of each feature over a group of four images,
    averaged. In training the batch is the images of one call, so give real and generated images
    apart; in evaluation mode the statistic is its running mean, so that an image's number depends
    on the image alone.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        outputs: numbers per image.
        residual: residual blocks of two convolutions each, as published, in the place of single
            convolutions; slower.
        options: as in `SynthesisNetwork`.

    Source: Karras et al. 2018 (progressive growing), section 3; Karras et al. 2020, figure 7.

    Examples:
        >>> StyleDiscriminator((1, 28, 28))(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 1])
    """

    statistic: Tensor

    def __init__(
        self,
        shape: Shape,
        outputs: int = 1,
        *,
        residual: bool = False,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        widths = filters(shape, complete(options))
        last = widths[-1]
        if residual:
            first, block = EqualisedConv(shape[0], widths[0], kernel=1), ResidualBlock
        else:
            first, block = (
                EqualisedConv(shape[0], widths[0]),
                functools.partial(EqualisedConv, halve=True),
            )
        self.blocks = nn.Sequential(
            first, *(block(before, after) for before, after in pairwise(widths))
        )
        self.last = EqualisedConv(last + 1, last)
        height, breadth = sizes(shape, len(widths) - 1)[-1]
        self.dense = EqualisedLinear(last * height * breadth, last)
        self.head = EqualisedLinear(last, outputs)
        self.register_buffer("statistic", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, outputs]`."""
        y = self.blocks(x)
        extra = self._variety(y)[:, None, None, None].expand(-1, 1, *y.shape[2:]).to(y.dtype)
        y = self.last(torch.cat([y, extra], 1)).flatten(1)
        return self.head(F.leaky_relu(self.dense(y), SLOPE) * GAIN)

    def _variety(self, features: Tensor) -> Tensor:
        """The minibatch statistic of features `[b, filters, h, w]`: float32 `[b]`."""
        if not self.training:
            return self.statistic.expand(features.shape[0])
        count = len(features)
        size = next((size for size in GROUPS if count % size == 0), count)
        groups = features.float().unflatten(0, (size, count // size))
        spread = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        with torch.no_grad():
            self.statistic.lerp_(spread.mean(), 1 - STATISTIC_DECAY)
        return spread.repeat(size)
