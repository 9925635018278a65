"""An encoder and a decoder of dense layers, for small images and for anything that is no image."""

import math
from itertools import pairwise
from typing import Unpack

from torch import Tensor, nn

from anogen.nets.fold import fold_normalisation
from anogen.nets.options import WIDTH, NetOptions, check_count, complete
from anogen.nets.parts import ACTIVATIONS, Shape, normalise_spectrally

UNITS_PER_WIDTH = 8
"""Units of a dense layer for one filter of a convolution, so that the default 32 gives 256."""
DEPTH = 2


class MLPEncoder(nn.Module):
    """Values in, a vector out, through dense layers: two of 256 units, unless told otherwise.

    Args:
        shape: of one example; its values are taken in a row.
        outputs: length of the vector.
        spectral_norm: divide each weight by its largest singular value.
        options: see `NetOptions`.

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
        spectral_norm: bool = False,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        check_count("vector length", outputs)
        self.layers, units = _layers(math.prod(shape), complete(options))
        self.head = nn.Linear(units, outputs)
        if spectral_norm:
            normalise_spectrally(self)

    def forward(self, x: Tensor) -> Tensor:
        """float `[b, ...]` → float `[b, outputs]`."""
        return self.from_features(self.features(x))

    def from_features(self, features: list[Tensor]) -> Tensor:
        """The vector, float `[b, outputs]`, from what `features` gave."""
        return self.head(features[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer gives, first to last: float `[b, units]`."""
        x = x.flatten(1)
        layers_out: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            layers_out.append(x)
        return layers_out

    def fold(self) -> None:
        """Make the fixed statistics of normalisations part of the weights; see `Foldable`."""
        for layers in self.layers:
            fold_normalisation(layers)


class MLPDecoder(nn.Module):
    """A vector in, values out: the encoder's mirror; its last layer is left unbounded.

    Args:
        shape: of one example.
        inputs: length of the vector.
        options: see `NetOptions`.

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
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        check_count("vector length", inputs)
        self.shape = shape
        self.layers, units = _layers(inputs, complete(options))
        self.head = nn.Linear(units, math.prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        """float `[b, inputs]` → float `[b, *shape]`, unbounded."""
        for layer in self.layers:
            z = layer(z)
        return self.head(z).unflatten(1, self.shape)

    def fold(self) -> None:
        """Make the fixed statistics of normalisations part of the weights; see `Foldable`."""
        for layers in self.layers:
            fold_normalisation(layers)


def _layers(inputs: int, options: NetOptions) -> tuple[nn.ModuleList, int]:
    """The hidden layers, and the units of the last."""
    units = options["widths"] or [UNITS_PER_WIDTH * (options["width"] or WIDTH)] * (
        options["depth"] or DEPTH
    )
    layers = nn.ModuleList(
        nn.Sequential(
            nn.Linear(before, after, bias=not options["batch_norm"]),
            *([nn.BatchNorm1d(after)] if options["batch_norm"] else []),
            ACTIVATIONS[options["activation"]](),
            *([nn.Dropout(options["dropout"])] if options["dropout"] else []),
        )
        for before, after in pairwise([inputs, *units])
    )
    return layers, units[-1]
