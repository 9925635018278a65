"""A net for evaluation alone: batch normalisation folded into the layer before it."""

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrize import is_parametrized

M = TypeVar("M", bound=nn.Module)


def folded(model: M) -> M:
    """A copy, in evaluation mode, that computes the same function with fewer passes over memory.

    Wherever a convolution or a dense layer stands right before a batch normalisation in a
    `nn.Sequential`, the normalisation's fixed statistics become part of its weights. Values differ
    in their last bits.

    Args:
        model: of any kind; it is not changed.

    Examples:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
        >>> folded(net)
        Sequential(
          (0): Linear(in_features=2, out_features=3, bias=True)
          (1): Identity()
        )
        >>> x = torch.rand(4, 2)
        >>> torch.allclose(folded(net)(x), net(x), atol=1e-6)
        True
    """
    copied = copy.deepcopy(model).eval()
    for module in list(copied.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    return copied


def _fold(layers: nn.Sequential) -> None:
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
