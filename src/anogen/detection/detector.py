"""A trained model, a score and its calibration: what answers whether an image belongs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.checkpoint import load_checkpoint, save_checkpoint
from anogen.data.images import Images, Splits
from anogen.detection.calibration import Calibration, discoveries
from anogen.detection.fused import Density
from anogen.detection.scores import SCORES, available, score_images
from anogen.device import choose_device
from anogen.errors import UsageError, unknown_name
from anogen.models.base import GenerativeModel

FUSED = "fused"
FITTED_IMAGES = 10_000
"""The density of the fused score is fitted to at most as many training images."""


@dataclass(frozen=True)
class Detector:
    """Tells images that belong from those that do not, at a rate of false alarms that you choose.

    The score is one of `SCORES`, or `fused`, the density of all that the model can give, learnt on
    training images. Calibration is on validation images, which training has not seen. Nothing
    out of distribution is needed, and none is used.

    Attributes:
        model: in evaluation mode.
        name: of the score.
        density: of the fused score, else None.
        calibration: scores of the validation images.
        device: where scores are computed.

    Example:
        >>> import anogen, torch
        >>> digits = anogen.load_data("digits")
        >>> _ = torch.manual_seed(0)
        >>> detector = Detector.fit(anogen.VAE(digits.shape, latent=2), digits)
        >>> noise = anogen.corrupt(digits.test, "uniform_noise")
        >>> bool(detector.score(noise).mean() > detector.score(digits.test).mean())
        True
        >>> bool(0 < detector.p_value(noise).min() <= 1)
        True
    """

    model: GenerativeModel
    name: str
    density: Density | None
    calibration: Calibration
    device: torch.device

    @classmethod
    def fit(
        cls, model: GenerativeModel, data: Splits, score: str = FUSED, device: str = "auto"
    ) -> "Detector":
        """Fit what the score needs on training images, and calibrate on validation images.

        Args:
            model: trained on `data.train`.
            data: in-distribution images; `test` is not touched.
            score: `fused`, or a name in `SCORES`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.

        Raises:
            UsageError: an unknown score, one that the model cannot give (the message has those that
                it can), or images of another shape than the model's.
        """
        refuse_unfit(model, score)
        target = choose_device(device)
        names = ingredients(model, score)
        known = score_images(model, fitted_images(data), names, target) if score == FUSED else None
        held_out = score_images(model, data.validation, names, target)
        return cls.of(model, score, known, held_out, target)

    @classmethod
    def of(
        cls,
        model: GenerativeModel,
        score: str,
        known: NDArray[np.float64] | None,
        held_out: NDArray[np.float64],
        device: torch.device,
    ) -> "Detector":
        """From scores `[n, ingredients]` of training and of held-out images, made before."""
        density = None if known is None else Density.fit(known)
        calibration = Calibration.of(joined(held_out, density))
        return cls(model.eval(), score, density, calibration, device)

    def score(self, images: Images) -> NDArray[np.float64]:
        """float64 `[n]`, higher meaning further out; the same image always has the same score."""
        names = ingredients(self.model, self.name)
        return joined(score_images(self.model, images, names, self.device), self.density)

    def p_value(self, images: Images) -> NDArray[np.float64]:
        """Conformal p-values, float64 `[n]` in (0, 1]; small means out."""
        return self.calibration.p_value(self.score(images))

    def predict(self, images: Images, false_positive_rate: float = 0.01) -> NDArray[np.int64]:
        """1 for out, 0 for in: int64 `[n]`; of images that belong, this share is called out.

        Raises:
            UsageError: a rate that the calibration cannot support.
        """
        threshold = self.calibration.threshold(false_positive_rate)
        return (self.score(images) > threshold).astype(np.int64)

    def discover(self, images: Images, false_discovery_rate: float = 0.1) -> NDArray[np.bool_]:
        """Which images of a batch to call out so that this share of the calls is expected false."""
        return discoveries(self.p_value(images), false_discovery_rate)

    def save(self, folder: str | Path) -> None:
        """Write score, density and calibration, without the model, into a folder of their own."""
        tensors = {"calibration": {"scores": torch.from_numpy(self.calibration.scores)}}
        if self.density is not None:
            arrays = self.density.arrays()
            tensors["density"] = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
        save_checkpoint(Path(folder), tensors, {"score": self.name})

    @classmethod
    def load(cls, folder: str | Path, model: GenerativeModel, device: str = "auto") -> "Detector":
        """What `save` wrote, with the model that it was fitted for.

        Raises:
            MachineError: there is none, or it is damaged.
        """
        tensors, state = load_checkpoint(Path(folder))
        density = None
        if "density" in tensors:
            density = Density(**{k: v.numpy() for k, v in tensors["density"].items()})
        calibration = Calibration(tensors["calibration"]["scores"].numpy())
        return cls(model.eval(), state["score"], density, calibration, choose_device(device))


def ingredients(model: GenerativeModel, score: str) -> list[str]:
    """The scores of `SCORES` that a score is made of."""
    return available(model) if score == FUSED else [score]


def fitted_images(data: Splits) -> Images:
    """The training images to which the fused score is fitted, at most 10,000, evenly spaced."""
    return data.train[:: -(-len(data.train) // FITTED_IMAGES)]


def joined(scores: NDArray[np.float64], density: Density | None) -> NDArray[np.float64]:
    """One score per image, `[n]`, from `[n, ingredients]`."""
    return scores[:, 0] if density is None else density.surprise(scores)


def refuse_unfit(model: GenerativeModel, score: str) -> None:
    """Raise a `UsageError` if there is no such score, or the model cannot give it."""
    if score != FUSED and score not in SCORES:
        raise unknown_name("score", score, [FUSED, *SCORES])
    if score != FUSED and not SCORES[score].fits(model):
        raise UsageError(
            f"{type(model).__name__} cannot give the score {score}; it has {FUSED}, "
            f"{', '.join(available(model))}"
        )
    if model.classes:
        raise UsageError(
            "a conditional model needs a label for every image, which new images do not have; "
            "train with classes 0 for detection"
        )
