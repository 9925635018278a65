"""An encoder and a decoder of dense layers, for small images and for anything that is no image."""

import math
from itertools import pairwise

from torch import Tensor, nn

from anogen.nets.parts import (
    ACTIVATIONS,
    Activation,
    Shape,
    check_options,
    normalise_spectrally,
)

UNITS_PER_WIDTH = 8
"""Units of a dense layer for one filter of a convolution, so that the default 32 gives 256."""


class MLPEncoder(nn.Module):
    """Values in, a vector out, through `depth` dense layers of `8 * width` units.

    Args:
        shape: of one example; its values are taken in a row.
        outputs: length of the vector.
        width: an eighth of the units of each layer.
        depth: hidden layers.
        dropout: probability of dropping a unit after each layer in training.
        batch_norm: False leaves normalisation out.
        activation: `leaky_relu`, `relu`, `silu` or `elu`.
        spectral_norm: divide each weight by its largest singular value.

    Raises:
        UsageError: options that cannot be built.

    Examples:
        >>> import torch
        >>> MLPEncoder((1, 1, 2), outputs=8)(torch.zeros(3, 1, 1, 2)).shape
        torch.Size([3, 8])
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
        units = UNITS_PER_WIDTH * width
        self.layers = _layers(math.prod(shape), units, depth, dropout, batch_norm, activation)
        self.head = nn.Linear(units, outputs)
        if spectral_norm:
            normalise_spectrally(self)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, ...]` → float `[b, outputs]`."""
        return self.head(self.features(x)[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer gives, first to last: float `[b, units]`."""
        x = x.flatten(1)
        found: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


class MLPDecoder(nn.Module):
    """A vector in, values out: the encoder's mirror; its last layer is left unbounded.

    Args:
        shape: of one example.
        inputs: length of the vector.
        width: as in `MLPEncoder`; likewise the other options.

    Raises:
        UsageError: options that cannot be built.

    Examples:
        >>> import torch
        >>> MLPDecoder((1, 1, 2), inputs=8)(torch.zeros(3, 8)).shape
        torch.Size([3, 1, 1, 2])
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
        units = UNITS_PER_WIDTH * width
        self.shape = shape
        self.layers = _layers(inputs, units, depth, dropout, batch_norm, activation)
        self.head = nn.Linear(units, math.prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, *shape]`, unbounded."""
        for layer in self.layers:
            z = layer(z)
        return self.head(z).unflatten(1, self.shape)


def _layers(
    inputs: int, units: int, depth: int, dropout: float, batch_norm: bool, activation: str
) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(
            nn.Linear(before, after, bias=not batch_norm),
            *([nn.BatchNorm1d(after)] if batch_norm else []),
            ACTIVATIONS[activation](),
            *([nn.Dropout(dropout)] if dropout else []),
        )
        for before, after in pairwise([inputs, *[units] * depth])
    )
