"""The style-based generator: a mapping network, and a synthesis network that it modulates."""

import math
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
    """A 3×3 convolution with padding, with weights as `EqualisedLinear`'s, and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale, self.stride = GAIN / math.sqrt(9 * inputs), stride

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, inputs, h, w]` → float `[b, outputs, h / stride, w / stride]`."""
        y = F.conv2d(x, self.weight * self.scale, self.bias, self.stride, padding=1)
        return F.leaky_relu(y, SLOPE)


class MappingNetwork(nn.Module):
    """Latents to styles: normalised, then through `layers` dense layers, which learn slowly.

    Source: Karras et al. 2019, section 2 and appendix C.

    Examples:
        >>> MappingNetwork(8, 16)(torch.zeros(3, 8)).shape
        torch.Size([3, 16])
    """

    def __init__(self, inputs: int, style: int, layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EqualisedLinear(before, after, rate=MAPPING_RATE)
            for before, after in pairwise([inputs, *[style] * layers])
        )

    def forward(self, z: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, style]`."""
        z = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            z = F.leaky_relu(layer(z), SLOPE) * GAIN
        return z


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

    The noise is drawn anew in training; in evaluation mode it is a fixed pattern, so that the same
    latent gives the same image.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """float `[b, inputs, h, w]`, `[b, style]` → float `[b, outputs, h, w]`."""
        y = self.conv(x, style)
        noise = self.noise
        if self.training:
            noise = torch.randn(len(x), 1, *y.shape[2:], device=x.device, dtype=torch.float32)
        y = y + (self.noise_strength * noise + self.bias).to(y.dtype)
        return F.leaky_relu(y, SLOPE) * GAIN


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
        layers: list[nn.Module] = [StyledLayer(widths[0], widths[0], style, self.path[0])]
        for (before, after), size in zip(pairwise(widths), self.path[1:], strict=True):
            layers.append(StyledLayer(before, after, style, size))
            layers.append(StyledLayer(after, after, style, size))
        self.layers = nn.ModuleList(layers)
        self.to_image = nn.ModuleList(
            ModulatedConv(count, shape[0], 1, style, demodulate=False) for count in widths
        )
        self.layers_count = len(layers)

    def forward(self, styles: Tensor) -> Tensor:
        """float `[b, layers_count, style]` → float `[b, c, h, w]`, unbounded."""
        x = self.constant.expand(len(styles), -1, -1, -1)
        x = self.layers[0](x.contiguous(memory_format=torch.channels_last), styles[:, 0])
        image = self.to_image[0](x, styles[:, 0])
        for index, size in enumerate(self.path[1:], 1):
            x = F.interpolate(x, size, mode="bilinear")
            for layer in (2 * index - 1, 2 * index):
                x = self.layers[layer](x, styles[:, layer])
            image = F.interpolate(image, size, mode="bilinear")
            image = image + self.to_image[index](x, styles[:, 2 * index])
        return image


class StyleDiscriminator(nn.Module):
    """Images in, one number or several out, with an eye for the variety of the batch.

    The layers of `ConvEncoder` without normalisation, with equalised learning rates. Before the
    last convolution a channel is added that holds the minibatch statistic: the standard deviation
    of each feature over the batch, averaged. In training the batch is the images of one call, so
    give real and generated images apart; in evaluation mode the statistic is its running mean, so
    that an image's number depends on the image alone.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        outputs: numbers per image.
        options: as in `SynthesisNetwork`.

    Source: Karras et al. 2018 (progressive growing), section 3; Karras et al. 2020, figure 7.

    Examples:
        >>> StyleDiscriminator((1, 28, 28))(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 1])
    """

    statistic: Tensor

    def __init__(self, shape: Shape, outputs: int = 1, **options: Unpack[NetOptions]) -> None:
        super().__init__()
        widths = filters(shape, complete(options))
        depth, last = len(widths) - 1, widths[-1]
        self.layers = nn.Sequential(
            *(
                EqualisedConv(before, after, stride)
                for (before, after), stride in zip(
                    pairwise([shape[0], *widths]), [1, *[2] * depth], strict=True
                )
            )
        )
        self.last = EqualisedConv(last + 1, last, 1)
        height, breadth = sizes(shape, depth)[-1]
        self.dense = EqualisedLinear(last * height * breadth, last)
        self.head = EqualisedLinear(last, outputs)
        self.register_buffer("statistic", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, outputs]`."""
        y = self.layers(x)
        extra = self._variety(y).expand(y.shape[0], 1, *y.shape[2:]).to(y.dtype)
        y = self.last(torch.cat([y, extra], 1)).flatten(1)
        return self.head(F.leaky_relu(self.dense(y), SLOPE) * GAIN)

    def _variety(self, features: Tensor) -> Tensor:
        """The minibatch statistic of features `[b, filters, h, w]`, a scalar."""
        if not self.training:
            return self.statistic
        variance = features.float().var(0, correction=0)
        variety = (variance + 1e-8).sqrt().mean()
        with torch.no_grad():
            self.statistic.lerp_(variety, 1 - STATISTIC_DECAY)
        return variety
