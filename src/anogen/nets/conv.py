"""The paper's convolutional encoder and decoder, grown for images of any size from 16×16 up."""

from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anogen.nets.fold import fold_normalisation, in_precision, rectify_at_once
from anogen.nets.fused import Layers
from anogen.nets.options import (
    NetOptions,
    check_count,
    complete,
    filters,
    has_full_size,
    is_smooth,
    sizes,
)
from anogen.nets.parts import ACTIVATIONS, Shape, normalise_spectrally


class ConvEncoder(nn.Module):
    """Images in, a vector out.

    3×3 convolutions with padding: one at full size (of larger images there is none), then one with
    stride 2 for every halving, then one with stride 1, each followed by batch normalisation and
    the activation; flattened into one dense layer. For images of 28×28 the defaults give the
    paper's net: 32, 64, 64, 64 filters with strides 1, 2, 2, 1 (28 → 14 → 7).

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        outputs: length of the vector.
        spectral_norm: divide each weight by its largest singular value (Miyato et al. 2018).
        options: see `NetOptions`.

    Raises:
        UsageError: images too small, or too small for `depth`.

    Source: the paper, section 4.2.1.

    Examples:
        >>> import torch
        >>> ConvEncoder((3, 33, 40), outputs=8)(torch.zeros(2, 3, 33, 40)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        spectral_norm: bool = False,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        settings = complete(options)
        check_count("vector length", outputs)
        widths = filters(shape, settings)
        channels = [shape[0], *widths, widths[-1]]
        strides = [1, *[2] * (len(widths) - 1), 1]
        if not has_full_size(shape, settings):
            del channels[1], strides[0]
        self.layers = nn.ModuleList(
            Layers(
                nn.Conv2d(before, after, 3, stride, padding=1, bias=not settings["batch_norm"]),
                *_after(after, settings),
            )
            for (before, after), stride in zip(pairwise(channels), strides, strict=True)
        )
        height, breadth = sizes(shape, len(widths) - 1)[-1]
        self.head = nn.Linear(widths[-1] * height * breadth, outputs)
        if spectral_norm:
            normalise_spectrally(self)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, outputs]`."""
        return self.from_features(self.features(x))

    def from_features(self, features: list[Tensor]) -> Tensor:
        """The vector, float `[b, outputs]`, from what `features` gave."""
        return self.head(features[-1].flatten(1))

    def features(self, x: Tensor) -> list[Tensor]:
        """What each convolutional layer gives, first to last: float `[b, filters, h', w']`."""
        layers_out: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            layers_out.append(x)
        return layers_out

    def fold(self) -> None:
        """Make the fixed statistics of normalisations part of the weights; see `Foldable`."""
        for layers in self.layers:
            fold_normalisation(layers)

    def lighten(self) -> None:
        """Compute the convolutions in bfloat16; see `Foldable`."""
        in_precision(self.layers.to(torch.bfloat16)[0], torch.bfloat16)
        in_precision(self.head, torch.float32)
        for layers in self.layers:
            rectify_at_once(layers)


class ConvDecoder(nn.Module):
    """A vector in, images out: the encoder's mirror.

    One dense layer, then a 3×3 convolution at the smallest size, then one for every doubling
    (transposed, of stride 2; see `upsampling`), and one that makes the image. The transposed
    convolutions of stride 1 in the paper are written as convolutions, which compute the same
    functions. The last layer has neither normalisation nor activation: what its output means
    (logits, means) is the model's choice.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        inputs: length of the vector.
        options: see `NetOptions`.

    Raises:
        UsageError: images too small, or too small for `depth`.

    Source: the paper, section 4.2.1.

    Examples:
        >>> import torch
        >>> ConvDecoder((3, 33, 40), inputs=8)(torch.zeros(2, 8)).shape
        torch.Size([2, 3, 33, 40])
    """

    def __init__(
        self,
        shape: Shape,
        inputs: int,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        settings = complete(options)
        check_count("vector length", inputs)
        widths = filters(shape, settings)[::-1]
        path = sizes(shape, len(widths) - 1)[::-1]
        self.seed_shape = (widths[0], *path[0])
        self.stem = nn.Linear(inputs, widths[0] * path[0][0] * path[0][1])
        bias = not settings["batch_norm"]
        smooth = is_smooth(shape, settings)
        layers: list[nn.Module] = [nn.Conv2d(widths[0], widths[0], 3, padding=1, bias=bias)]
        layers += _after(widths[0], settings)
        ends_at_full_size = has_full_size(shape, settings)
        if not ends_at_full_size:  # the last doubling makes the image
            widths[-1] = shape[0]
        for (before, after), size in zip(pairwise(widths), path[1:], strict=True):
            odd = (size[0] % 2, size[1] % 2)
            last = size == path[-1] and not ends_at_full_size
            bias = last or not settings["batch_norm"]
            if smooth:
                layers.append(smooth_upsampling(before, after, bias=bias))
            else:
                extra = (1 - odd[0], 1 - odd[1])
                layers.append(nn.ConvTranspose2d(before, after, 3, 2, 1, extra, bias=bias))
            layers += [] if last else _after(after, settings)
            if smooth and any(odd):
                layers.append(nn.ZeroPad2d((0, -odd[1], 0, -odd[0])))  # one column or row less
        if ends_at_full_size:
            layers.append(nn.Conv2d(widths[-1], shape[0], 3, padding=1))
        self.layers = Layers(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, c, h, w]`, unbounded."""
        seed = self.stem(z).unflatten(1, self.seed_shape)
        return self.layers(seed.contiguous(memory_format=torch.channels_last))

    def fold(self) -> None:
        """Make the fixed statistics of normalisations part of the weights; see `Foldable`."""
        fold_normalisation(self.layers)

    def lighten(self) -> None:
        """Compute the convolutions in bfloat16; see `Foldable`."""
        in_precision(self.layers.to(torch.bfloat16), torch.bfloat16)
        rectify_at_once(self.layers)
        self.layers.register_forward_hook(lambda _module, _given, out: out.float())


def smooth_upsampling(inputs: int, outputs: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles sizes and begins without checkerboards.

    Its 4×4 kernel, stride 2, touches every pixel equally often, and starts as that of two steps in
    one: every pixel doubled in both directions, then a 3×3 convolution. Training is free to leave
    that start.

    Args:
        inputs: channels in.
        outputs: channels out.
        bias: whether a number is added to each output channel.

    Source: Odena et al. 2016 for the cause; the start is in the spirit of Aitken et al. 2017.

    Examples:
        >>> import torch
        >>> layer = smooth_upsampling(2, 3)
        >>> flat = layer(torch.ones(1, 2, 6, 6))[..., 2:-2, 2:-2]
        >>> torch.allclose(flat, flat[..., :1, :1], atol=1e-6)
        True
    """
    start = nn.Conv2d(inputs, outputs, 3, bias=bias)
    flipped = start.weight.detach().flip(2, 3)
    wide = F.pad(flipped, (0, 1)) + F.pad(flipped, (1, 0))
    kernel = F.pad(wide, (0, 0, 0, 1)) + F.pad(wide, (0, 0, 1, 0))
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)
    layer.weight = nn.Parameter(kernel.transpose(0, 1).contiguous())
    layer.bias = start.bias
    return layer


def _after(filters: int, options: NetOptions) -> list[nn.Module]:
    """What follows a convolution: normalisation, activation, dropout."""
    layers: list[nn.Module] = [nn.BatchNorm2d(filters)] if options["batch_norm"] else []
    layers.append(ACTIVATIONS[options["activation"]]())
    return [*layers, nn.Dropout2d(options["dropout"])] if options["dropout"] else layers
