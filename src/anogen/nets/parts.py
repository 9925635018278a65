"""What all nets are made of: shapes, activations, normalisation of weights."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn
from torch.nn.utils import parametrizations

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""
Activation = Literal["leaky_relu", "relu", "silu", "elu"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "silu": nn.SiLU,
    "elu": nn.ELU,
}
"""Makers of activations by name. The paper gives no slope for LeakyReLU; this is PyTorch's."""


def normalise_spectrally(net: nn.Module) -> None:
    """Divide every weight by its largest singular value (Miyato et al. 2018), in place."""
    for module in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
        parametrizations.spectral_norm(module)
