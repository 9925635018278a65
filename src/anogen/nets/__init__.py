"""Networks: tensors in, tensors out; they know no loss."""

from typing import Any, Literal, get_args

from anogen.errors import unknown_name
from anogen.nets.conv import MIN_SIZE, ConvDecoder, ConvEncoder
from anogen.nets.mlp import MLPDecoder, MLPEncoder
from anogen.nets.parts import Activation, Shape

__all__ = ["NETS", "Activation", "Decoder", "Encoder", "Net", "Shape", "decoder", "encoder"]

Encoder = ConvEncoder | MLPEncoder
Decoder = ConvDecoder | MLPDecoder
Net = Literal["auto", "conv", "mlp"]
NETS: dict[str, tuple[type[Encoder], type[Decoder]]] = {
    "conv": (ConvEncoder, ConvDecoder),
    "mlp": (MLPEncoder, MLPDecoder),
}
"""Every backbone by name: its encoder and its decoder."""


def encoder(net: Net, shape: Shape, outputs: int, **options: Any) -> Encoder:
    """The encoder of a backbone; `auto` is `conv` for images of 16×16 and more, else `mlp`."""
    return _backbone(net, shape)[0](shape, outputs, **options)


def decoder(net: Net, shape: Shape, inputs: int, **options: Any) -> Decoder:
    """The decoder of a backbone; `auto` as in `encoder`."""
    return _backbone(net, shape)[1](shape, inputs, **options)


def _backbone(net: str, shape: Shape) -> tuple[type[Encoder], type[Decoder]]:
    if net == "auto":
        net = "conv" if min(shape[1:]) >= MIN_SIZE else "mlp"
    if net not in NETS:
        raise unknown_name("net", net, get_args(Net))
    return NETS[net]
