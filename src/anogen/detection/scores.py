"""Scores of single images by name: one number each, higher meaning further out of distribution."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anogen.data.batches import evaluation_batch, in_order, to_bytes
from anogen.data.images import Images
from anogen.errors import UsageError
from anogen.evaluation.reconstruction import cosine_similarity, sharpness
from anogen.models.base import Encodes, GenerativeModel, HasLikelihood, Reconstructs
from anogen.models.terms import squared_error
from anogen.nets import Encoder
from anogen.progress import Progress

MIN_PROBABILITY = 1e-6
"""Reconstructed pixels are kept this far from 0 and 1, so that a cross-entropy stays finite."""


@runtime_checkable
class HasEncoder(Protocol):
    """A model whose encoder's layers can be read."""

    encoder: Encoder


@runtime_checkable
class Discriminates(Protocol):
    """A model that says how real an image seems."""

    def logit(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """float `[b, c, h, w]` → float `[b]`, higher meaning more real."""
        ...


@dataclass(frozen=True)
class View:
    """An image batch with what a model makes of it, computed once for all scores.

    Attributes:
        model: in evaluation mode.
        x: float32 `[b, c, h, w]` in [0, 1].
        y: the reconstruction, or None for a model that does not reconstruct.
    """

    model: GenerativeModel
    x: Tensor
    y: Tensor | None

    @property
    def rebuilt(self) -> Tensor:
        """The reconstruction of a model that has one."""
        return self.x if self.y is None else self.y


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes:
        function: a view of a batch → `[b]`.
        needs: the abilities that the model must have; none: the image alone is judged.
        unit: of the values.
        source: where it comes from.
    """

    function: Callable[[View], Tensor]
    needs: tuple[type, ...]
    unit: str
    source: str

    def fits(self, model: GenerativeModel) -> bool:
        """Whether the model has what the score needs."""
        return all(isinstance(model, ability) for ability in self.needs)


def _cross_entropy(view: View) -> Tensor:
    y = view.rebuilt.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return F.binary_cross_entropy(y, view.x, reduction="none").flatten(1).sum(1)


def _feature_error(view: View) -> Tensor:
    model: Any = view.model
    pairs = zip(model.encoder.features(view.x), model.encoder.features(view.rebuilt), strict=True)
    return torch.stack([(a - b).square().flatten(1).mean(1) for a, b in pairs]).sum(0)


def _kl(view: View) -> Tensor:
    model: Any = view.model
    return model.kl(view.x).sum(1)


def _latent_norm(view: View) -> Tensor:
    model: Any = view.model
    return model.posterior_mean(view.x).square().sum(1)


def _unreal(view: View) -> Tensor:
    model: Any = view.model
    return -model.logit(view.x)


def _entropy(view: View) -> Tensor:
    """Entropy of the histogram of grey levels, over all channels."""
    pixels = to_bytes(view.x).reshape(len(view.x), -1).astype(np.int64)
    rows = np.arange(len(pixels))[:, None] * 256
    counts = np.bincount((pixels + rows).ravel(), minlength=256 * len(pixels)).reshape(-1, 256)
    shares = counts / pixels.shape[1]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return torch.from_numpy(-(shares * logs).sum(1))


def _compressed_size(view: View) -> Tensor:
    pixels = to_bytes(view.x)
    return torch.tensor([float(len(zlib.compress(image.tobytes(), 6))) for image in pixels])


SCORES: dict[str, Score] = {
    "squared_error": Score(
        lambda view: squared_error(view.x, view.rebuilt), (Reconstructs,),
        "squared pixels, summed", "the paper, sections 3.1.1 and 6",
    ),
    "absolute_error": Score(
        lambda view: (view.x - view.rebuilt).abs().flatten(1).sum(1), (Reconstructs,),
        "pixels, summed", "An & Cho 2015",
    ),
    "cross_entropy": Score(
        _cross_entropy, (Reconstructs,), "nats, summed over pixels", "Kingma & Welling 2014"
    ),
    "cosine_distance": Score(
        lambda view: 1 - cosine_similarity(view.x, view.rebuilt), (Reconstructs,),
        "1 − cosine", "the paper, section 4.4.3",
    ),
    "feature_error": Score(
        _feature_error, (Reconstructs, HasEncoder), "squared activations, mean per layer, summed",
        "encoder features of image and reconstruction",
    ),
    "kl": Score(_kl, (HasLikelihood,), "nats", "the paper, section 4.4.4"),
    "latent_norm": Score(
        _latent_norm, (Encodes,), "squared latents", "distance from the prior's mean"
    ),
    "unreal": Score(_unreal, (Discriminates,), "logit", "Schlegl et al. 2017, the discriminator"),
    "pixel_entropy": Score(_entropy, (), "nats", "no model"),
    "nonzero_pixels": Score(
        lambda view: (view.x > 0).flatten(1).sum(1), (), "pixels", "no model"
    ),
    "pixel_sum": Score(lambda view: view.x.flatten(1).sum(1), (), "pixels", "no model"),
    "sharpness": Score(lambda view: sharpness(view.x), (), "variance of the Laplacian", "no model"),
    "compressed_size": Score(
        _compressed_size, (), "bytes of zlib", "Serrà et al. 2020, input complexity"
    ),
}  # fmt: skip
"""Every score of one image alone by name; `fused` in `detection/detector.py` joins them."""


def available(model: GenerativeModel) -> list[str]:
    """The names of the scores that the model can give, in the table's order."""
    return [name for name, score in SCORES.items() if score.fits(model)]


@torch.inference_mode()
def score_images(
    model: GenerativeModel, images: Images, names: list[str], device: torch.device
) -> NDArray[np.float64]:
    """Scores in one pass: float64 `[n, len(names)]`.

    Every pass has the same number of images, the last one filled up with black ones, and runs in
    float32, so that an image's score does not depend on what is scored with it.

    Raises:
        UsageError: images of another shape than the model's.
    """
    if images.shape != model.shape:
        raise UsageError(f"{images.name}: images of {images.shape}, the model has {model.shape}")
    model = model.eval().to(device)
    size = evaluation_batch(images.shape)
    rebuilds = any(Reconstructs in SCORES[name].needs for name in names)
    parts: list[NDArray[np.float64]] = []
    with Progress(f"scoring {images.name}", len(images)) as bar:
        for x, _ in in_order(images, device):
            whole = F.pad(x, (0, 0, 0, 0, 0, 0, 0, size - len(x)))
            whole = whole.contiguous(memory_format=torch.channels_last)
            reconstruct: Any = getattr(model, "reconstruct", None)
            view = View(model, whole, reconstruct(whole) if rebuilds else None)
            columns = [SCORES[name].function(view).double().cpu()[: len(x)] for name in names]
            parts.append(torch.stack(columns, 1).numpy())
            bar.advance(len(x))
    return np.concatenate(parts)
