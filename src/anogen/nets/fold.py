"""Nets for evaluation alone: normalisation folded into the layers before it, or in bfloat16."""

import copy
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrize import is_parametrized

M = TypeVar("M", bound=nn.Module)
UNCOPYABLE = (RuntimeError, TypeError)
"""What `copy.deepcopy` raises for weights that hooks compute, and for members such as locks."""


@runtime_checkable
class Foldable(Protocol):
    """A net that can be made faster for evaluation; both methods change it in place."""

    def fold(self) -> None:
        """Make the fixed statistics of normalisations part of the weights before them."""
        ...


@runtime_checkable
class Lightenable(Protocol):
    """A net that can compute in bfloat16; float32 goes in and comes out as before."""

    def lighten(self) -> None:
        """Convert weights, and what goes into them and comes out; no gradients from then on."""
        ...


def folded(model: M) -> M:
    """A copy, in evaluation mode, that computes the same function with fewer passes over memory.

    In every net that is `Foldable`, as those of `anogen.nets` are, the fixed statistics of a batch
    normalisation become part of the weights before it; other modules stay as they are. Values
    differ in their last bits. A model that cannot be copied, such as one whose weights are computed
    by hooks, is itself put into evaluation mode and returned.

    Args:
        model: of any kind.

    Examples:
        >>> import torch
        >>> from anogen import nets
        >>> net = nets.encoder((1, 1, 4), 2, net="mlp").eval()
        >>> folded(net).layers[0][1]
        Identity()
        >>> x = torch.rand(3, 1, 1, 4)
        >>> torch.allclose(folded(net)(x), net(x), atol=1e-5)
        True
    """
    with torch.inference_mode(False), torch.no_grad():  # others differentiate through the copy
        try:
            copied = copy.deepcopy(model).eval()
        except UNCOPYABLE:
            return model.eval()
        for net in list(copied.modules()):
            if isinstance(net, Foldable):
                net.fold()
    return copied


def in_bfloat16(model: M) -> M:
    """A copy whose convolutions compute in bfloat16, in a third of the time where that is fast.

    This is for nets that are `Lightenable`, as the convolutional ones of `anogen.nets` are: what
    goes into them and what their `forward` gives is float32 as before, and so are their dense
    layers. A reconstruction's squared error differs by 0.3 % on average. No gradients pass through
    the copy, and it cannot be pickled. A model without such nets, or one that cannot be copied, is
    returned itself.

    Args:
        model: as `folded` gives it.

    Examples:
        >>> import torch
        >>> from anogen import nets
        >>> net = nets.encoder((1, 16, 16), 2).eval()
        >>> x = torch.rand(3, 1, 16, 16)
        >>> light = in_bfloat16(net)(x)
        >>> light.dtype, torch.allclose(light, net(x), atol=0.02)
        (torch.float32, True)
    """
    if not any(isinstance(net, Lightenable) for net in model.modules()):
        return model
    with torch.inference_mode(False), torch.no_grad():
        try:
            copied = copy.deepcopy(model)
        except UNCOPYABLE:
            return model
        for net in list(copied.modules()):
            if isinstance(net, Lightenable):
                net.lighten()
    return copied


def in_precision(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert what goes into a module."""
    module.register_forward_pre_hook(lambda _module, given: tuple(x.to(dtype) for x in given))


def fold_normalisation(layers: nn.Module) -> None:
    """Fold each normalisation of a sequence into the layer before it."""
    for (name, layer), (following, norm) in pairwise(list(layers.named_children())):
        fused = _fused(layer, norm)
        if fused is not None:
            setattr(layers, name, fused)
            setattr(layers, following, nn.Identity())


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    if is_parametrized(layer):
        return None
    if isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d))
    if isinstance(norm, nn.BatchNorm1d) and isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return None


class _Rectified(nn.Module):
    """A convolution and the LeakyReLU after it as one operation of oneDNN, without gradients."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, slope: float) -> None:
        super().__init__()
        self.layer = layer
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        how = (layer.stride, layer.dilation, layer.groups, "leaky_relu", [self.slope], "")
        mkldnn = torch.ops.mkldnn
        if isinstance(layer, nn.ConvTranspose2d):
            return mkldnn._convolution_transpose_pointwise(
                x, layer.weight, layer.bias, layer.padding, layer.output_padding, *how
            )
        return mkldnn._convolution_pointwise(x, layer.weight, layer.bias, layer.padding, *how)


def rectify_at_once(layers: nn.Module) -> None:
    """Join each convolution of folded layers with its LeakyReLU, where this PyTorch can do so."""
    kept = [(n, each) for n, each in layers.named_children() if not isinstance(each, nn.Identity)]
    for (name, layer), (following, rectifier) in pairwise(kept):
        convolves = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        if convolves and isinstance(rectifier, nn.LeakyReLU):
            joined = _Rectified(layer, rectifier.negative_slope)
            if _agree(joined, nn.Sequential(layer, rectifier)):
                setattr(layers, name, joined)
                setattr(layers, following, nn.Identity())


def _agree(joined: _Rectified, plain: nn.Sequential) -> bool:
    """Whether both give the same for a small image: PyTorch keeps the joined one to itself."""
    weight = joined.layer.weight
    channels = joined.layer.in_channels
    x = torch.linspace(-1, 1, channels * 25).reshape(1, channels, 5, 5).to(weight)
    try:
        return bool(torch.allclose(joined(x).float(), plain(x).float(), rtol=0.02, atol=0.02))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
