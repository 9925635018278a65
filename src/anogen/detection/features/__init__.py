"""Feature maps of pictures by name: what local scores look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.data.images import Images
from anogen.detection.features.efficientnet import PACKAGE, efficientnet_maps, pretrained_weights
from anogen.detection.features.filters import filter_maps
from anogen.detection.features.learnt import learn_defects, learnt_maps
from anogen.detection.view import State, View, readable
from anogen.nets.conv import ConvEncoder

FINEST = 32
"""Cells each way, at most, in which features are compared."""
NUMBERS = 24_000_000
"""Of covariances of features in all cells together, at most: a score's state stays small."""


class EncoderHasMaps(metaclass=readable("encoder", ConvEncoder)):
    """What a model is an instance of if its `encoder` is a convolutional net of `anogen.nets`."""


class DiscriminatorHasMaps(metaclass=readable("discriminator", ConvEncoder)):
    """Likewise of its `discriminator`."""


@dataclass(frozen=True)
class Source:
    """Where features come from.

    Attributes:
        maps: a view, and what `weights` gave → maps `[b, c, h, w]`, finest first.
        needs: abilities that the model must have.
        weights: in-distribution images and a device → the weights of a net of its own, kept with
            what a score learns; None: it has none.
        trains: whether that net is trained on the images, which takes minutes.
        package: carries those weights.
        says: where they come from, for the list of scores.
    """

    maps: Callable[[View, State], list[Tensor]]
    needs: tuple[type, ...] = ()
    weights: Callable[[Images, torch.device], State] | None = None
    trains: bool = False
    package: str | None = None
    says: str = ""


def _encoder(view: View, weights: State) -> list[Tensor]:
    return view.features


def _discriminator(view: View, weights: State) -> list[Tensor]:
    model: Any = view.model
    return model.discriminator.features(view.x)


SOURCES: dict[str, Source] = {
    "pixels": Source(lambda view, _: filter_maps(view), says="derivatives at five scales"),
    "encoder": Source(_encoder, (EncoderHasMaps,), says="the encoder's layers"),
    "discriminator": Source(
        _discriminator, (DiscriminatorHasMaps,), says="the discriminator's layers"
    ),
    "learnt": Source(
        learnt_maps, weights=learn_defects, trains=True,
        says="a net that finds defects drawn into good pictures; Schlüter et al. 2022",
    ),
    "pretrained": Source(
        lambda view, weights: efficientnet_maps(view.x, weights),
        weights=lambda _images, _device: pretrained_weights(), package=PACKAGE,
        says="EfficientNet-Lite0; Tan and Le 2019",
    ),
}  # fmt: skip
"""Every source of features by name."""


def joined(maps: list[Tensor]) -> Tensor:
    """Maps of several sizes on one grid, averaged over 3×3 neighbours: float32 `[b, d, gh, gw]`.

    The grid is as fine as the finest map, as 32 cells each way, and as a covariance for every cell
    in `NUMBERS` numbers allow.
    """
    d = sum(part.shape[1] for part in maps)
    high, wide = (min(side, FINEST) for side in maps[0].shape[2:])
    shrink = math.sqrt(min(1.0, NUMBERS / (high * wide * d * d)))
    size = max(1, int(high * shrink)), max(1, int(wide * shrink))
    smooth = [F.avg_pool2d(m, 3, 1, 1, count_include_pad=False) for m in maps]
    return torch.cat([_on_grid(part.float(), size) for part in smooth], 1)


def _on_grid(part: Tensor, size: tuple[int, int]) -> Tensor:
    if part.shape[2] >= size[0] and part.shape[3] >= size[1]:
        return F.adaptive_avg_pool2d(part, size)
    return F.interpolate(part, size, mode="bilinear", align_corners=False)
