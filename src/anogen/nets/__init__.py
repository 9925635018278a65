"""Networks: tensors in, tensors out; they know no loss."""

from typing import Unpack

from anogen.errors import unknown_name
from anogen.nets.conv import ConvDecoder, ConvEncoder
from anogen.nets.mlp import MLPDecoder, MLPEncoder
from anogen.nets.options import MIN_SIZE, NetOptions
from anogen.nets.parts import Shape

__all__ = ["NETS", "Decoder", "Encoder", "NetOptions", "Shape", "decoder", "encoder"]

Encoder = ConvEncoder | MLPEncoder
Decoder = ConvDecoder | MLPDecoder
NETS: dict[str, tuple[type[Encoder], type[Decoder]]] = {
    "conv": (ConvEncoder, ConvDecoder),
    "mlp": (MLPEncoder, MLPDecoder),
}
"""Every backbone by name: its encoder and its decoder."""


def encoder(
    shape: Shape, outputs: int, *, spectral_norm: bool = False, **options: Unpack[NetOptions]
) -> Encoder:
    """Images in, a vector of length `outputs` out, through the backbone `options["net"]`."""
    kind = _backbone(shape, options)[0]
    return kind(shape, outputs, spectral_norm=spectral_norm, **options)


def decoder(shape: Shape, inputs: int, **options: Unpack[NetOptions]) -> Decoder:
    """A vector of length `inputs` in, images out, through the backbone `options["net"]`."""
    return _backbone(shape, options)[1](shape, inputs, **options)


def _backbone(shape: Shape, options: NetOptions) -> tuple[type[Encoder], type[Decoder]]:
    net = options.get("net", "auto")
    if net == "auto":
        net = "conv" if min(shape[1:]) >= MIN_SIZE else "mlp"
    if net not in NETS:
        raise unknown_name("net", net, ["auto", *NETS])
    return NETS[net]
