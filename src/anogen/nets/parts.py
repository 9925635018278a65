"""What all nets are made of: shapes, activations, and the checks of their options."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn
from torch.nn.utils import parametrizations

from anogen.errors import UsageError, unknown_name

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""
Activation = Literal["leaky_relu", "relu", "silu", "elu"]

MAX_DEPTH, MAX_UNITS = 100, 1_000_000
"""Deeper or wider nets than any machine can hold."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "silu": nn.SiLU,
    "elu": nn.ELU,
}
"""Makers of activations by name. The paper gives no slope for LeakyReLU; this is PyTorch's."""


def check_options(vector: int, width: int, depth: int, dropout: float, activation: str) -> None:
    """Refuse what cannot be built, before anything is built."""
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    for name, value in (("width", width), ("depth", depth), ("vector length", vector)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, found {value}")
        if value > (MAX_DEPTH if name == "depth" else MAX_UNITS):
            most = MAX_DEPTH if name == "depth" else MAX_UNITS
            raise UsageError(f"{name} must be at most {most:,}, found {value}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout must lie in [0, 1), found {dropout}")


def normalise_spectrally(net: nn.Module) -> None:
    """Divide every weight by its largest singular value (Miyato et al. 2018), in place."""
    for module in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
        parametrizations.spectral_norm(module)
