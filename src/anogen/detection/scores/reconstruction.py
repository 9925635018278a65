"""Scores that compare an image with what the model gives back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm as norm
from torch.nn import functional as F

from anogen.detection.view import HasEncoder, Score, View
from anogen.evaluation.reconstruction import cosine_similarity
from anogen.models.base import Reconstructs
from anogen.models.terms import squared_error

MIN_PROBABILITY = 1e-6
"""Reconstructed pixels are kept this far from 0 and 1, so that a cross-entropy stays finite."""


def squared_error_map(view: View) -> Tensor:
    """Of every pixel and channel: `[b, c, h, w]`."""
    return (view.x - view.rebuilt).square()


def absolute_error_map(view: View) -> Tensor:
    """Of every pixel and channel: `[b, c, h, w]`."""
    return (view.x - view.rebuilt).abs()


def cross_entropy_map(view: View) -> Tensor:
    """Of every pixel and channel, in nats: `[b, c, h, w]`."""
    y = view.rebuilt.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return F.binary_cross_entropy(y, view.x, reduction="none")


def layer_errors(ours: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Squared differences of a net's layers for images and for others, `[b, ...]` each: `[b]`.

    Each layer's are averaged, the layers' summed.
    """
    pairs = zip(ours, others, strict=True)
    layers = [(_rows(a) - _rows(b), a[0].numel()) for a, b in pairs]
    return torch.stack([norm(rows, dim=1).square() / n for rows, n in layers]).sum(0)


def _rows(x: Tensor) -> Tensor:
    """The values of each example in a row, in the order in which they lie in memory, float32."""
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).flatten(1).float()


def _feature_error(view: View) -> Tensor:
    model: Any = view.model
    return layer_errors(view.features, model.encoder.features(view.rebuilt))


RECONSTRUCTION = {
    "squared_error": Score(
        lambda view: squared_error(view.x, view.rebuilt), (Reconstructs,),
        "squared pixels, summed", "the paper, sections 3.1.1 and 6", fused="pictures",
        map=squared_error_map,
    ),
    "absolute_error": Score(
        lambda view: absolute_error_map(view).flatten(1).sum(1), (Reconstructs,),
        "pixels, summed", "An & Cho 2015", fused="pictures", map=absolute_error_map,
    ),
    "cross_entropy": Score(
        lambda view: cross_entropy_map(view).flatten(1).sum(1), (Reconstructs,),
        "nats, summed over pixels", "Kingma & Welling 2014", fused="pictures",
        map=cross_entropy_map,
    ),
    "cosine_distance": Score(
        lambda view: 1 - cosine_similarity(view.x, view.rebuilt), (Reconstructs,),
        "1 − cosine", "the paper, section 4.4.3", fused="pictures",
    ),
    "feature_error": Score(
        _feature_error, (Reconstructs, HasEncoder), "squared activations, mean per layer, summed",
        "encoder features of image and reconstruction", passes=2,
    ),
}  # fmt: skip
