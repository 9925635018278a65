"""The paper's convolutional encoder and decoder, for any channel count and size from 16×16 up."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from anogen.errors import UsageError
from anogen.nets.fused import Layers
from anogen.nets.parts import (
    ACTIVATIONS,
    Activation,
    Shape,
    check_options,
    normalise_spectrally,
)

MIN_SIZE = 16


class ConvEncoder(nn.Module):
    """Images in, a vector out.

    3×3 convolutions with padding: `width` filters at full size, then `depth` layers of
    `2 * width` filters with stride 2, then one of `2 * width` with stride 1, each followed by
    batch normalisation and the activation; flattened into one dense layer. The defaults are the
    paper's net: 32, 64, 64, 64 filters with strides 1, 2, 2, 1 (28 → 14 → 7).

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        outputs: length of the vector.
        width: filters of the first layer.
        depth: how often the size is halved (rounded up).
        dropout: probability of dropping a channel after each layer in training.
        batch_norm: False leaves normalisation out.
        activation: `leaky_relu` (slope 0.01), `relu`, `silu` or `elu`.
        spectral_norm: divide each weight by its largest singular value (Miyato et al. 2018).

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
        width: int = 32,
        depth: int = 2,
        dropout: float = 0.0,
        batch_norm: bool = True,
        activation: Activation = "leaky_relu",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_options(outputs, width, depth, dropout, activation)
        check_size(shape, depth)
        filters = [shape[0], width, *[2 * width] * (depth + 1)]
        strides = [1, *[2] * depth, 1]
        self.layers = nn.ModuleList(
            Layers(
                nn.Conv2d(before, after, 3, stride, padding=1, bias=not batch_norm),
                *_after(after, batch_norm, activation, dropout),
            )
            for (before, after), stride in zip(pairwise(filters), strides, strict=True)
        )
        height, breadth = sizes(shape, depth)[-1]
        self.head = nn.Linear(2 * width * height * breadth, outputs)
        if spectral_norm:
            normalise_spectrally(self)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, outputs]`."""
        return self.head(self.features(x)[-1].flatten(1))

    def features(self, x: Tensor) -> list[Tensor]:
        """What each convolutional layer gives, first to last: float `[b, filters, h', w']`."""
        found: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


class ConvDecoder(nn.Module):
    """A vector in, images out: the encoder's mirror.

    One dense layer, then 3×3 transposed convolutions of `2 * width`, `depth - 1` times `2 * width`
    and `width` filters with strides 1, 2, ..., 2, and one of stride 1 that makes the image. The
    transposed convolutions of stride 1 are written as convolutions, which compute the same
    functions. The last layer has neither normalisation nor activation: what its output means
    (logits, means) is the model's choice.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        inputs: length of the vector.
        width: as in `ConvEncoder`; likewise the other options.

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
        *,
        width: int = 32,
        depth: int = 2,
        dropout: float = 0.0,
        batch_norm: bool = True,
        activation: Activation = "leaky_relu",
    ) -> None:
        super().__init__()
        check_options(inputs, width, depth, dropout, activation)
        check_size(shape, depth)
        path = sizes(shape, depth)[::-1]
        self.seed_shape = (2 * width, *path[0])
        self.stem = nn.Linear(inputs, 2 * width * path[0][0] * path[0][1])
        layers: list[nn.Module] = [
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=not batch_norm)
        ]
        layers += _after(2 * width, batch_norm, activation, dropout)
        filters = [*[2 * width] * depth, width]
        for (before, after), size in zip(pairwise(filters), path[1:], strict=True):
            extra = (1 - size[0] % 2, 1 - size[1] % 2)
            layers.append(nn.ConvTranspose2d(before, after, 3, 2, 1, extra, bias=not batch_norm))
            layers += _after(after, batch_norm, activation, dropout)
        layers.append(nn.Conv2d(width, shape[0], 3, padding=1))
        self.layers = Layers(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, c, h, w]`, unbounded."""
        seed = self.stem(z).unflatten(1, self.seed_shape)
        return self.layers(seed.contiguous(memory_format=torch.channels_last))


def sizes(shape: Shape, depth: int) -> list[tuple[int, int]]:
    """Heights and widths from full size down, halved and rounded up `depth` times.

    >>> sizes((1, 28, 33), 2)
    [(28, 33), (14, 17), (7, 9)]
    """
    path = [shape[1:]]
    for _ in range(depth):
        path.append(((path[-1][0] + 1) // 2, (path[-1][1] + 1) // 2))
    return path


def check_size(shape: Shape, depth: int) -> None:
    """Refuse images that are too small to be halved `depth` times."""
    if min(shape[1:]) < MIN_SIZE:
        raise UsageError(
            f"images of {shape[1]}×{shape[2]} are too small for these nets; give "
            f"{MIN_SIZE}×{MIN_SIZE} or more (set image_size for a folder of pictures), or net mlp "
            "where the model has that option"
        )
    if min(shape[1:]) < 2 ** (depth + 1):
        raise UsageError(
            f"depth {depth} halves images of {shape[1]}×{shape[2]} away; give a smaller depth"
        )


def _after(filters: int, batch_norm: bool, activation: str, dropout: float) -> list[nn.Module]:
    """What follows a convolution: normalisation, activation, dropout."""
    layers: list[nn.Module] = [nn.BatchNorm2d(filters)] if batch_norm else []
    layers.append(ACTIVATIONS[activation]())
    return [*layers, nn.Dropout2d(dropout)] if dropout else layers
