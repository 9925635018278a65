"""A trained model, a score and its calibration: what answers whether an image belongs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor

from anogen.checkpoint import load_checkpoint, save_checkpoint
from anogen.data.images import Images, Splits, expect
from anogen.detection.calibration import Calibration, discoveries
from anogen.detection.scores import FUSED, SCORES, available, fit_scores, score_images
from anogen.detection.view import State
from anogen.device import choose_device
from anogen.errors import UsageError, unknown_name
from anogen.models import find_model
from anogen.models.base import GenerativeModel
from anogen.progress import say
from anogen.training.state import describe

FITTED_IMAGES = 10_000
"""A score learns from at most as many training images."""
UNLIKE = 0.3
"""Largest distance between the distribution functions of training and of calibration scores that
passes without a warning."""


@dataclass(frozen=True)
class Detector:
    """Tells images that belong from those that do not, at a rate of false alarms that you choose.

    The score is one of `SCORES`; `fused` is the density of all cheap ones that the model can give,
    learnt on training images. Calibration is on validation images, which training has not seen.
    Nothing out of distribution is needed, and none is used.

    Attributes:
        model: in evaluation mode.
        name: of the score.
        state: what the score has learnt; empty for one that learns nothing.
        calibration: scores of the validation images.
        device: where scores are computed.
        companions: other models, for scores that compare with them.

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
    state: State
    calibration: Calibration
    device: torch.device
    companions: Sequence[GenerativeModel] = field(default=())

    @classmethod
    def fit(
        cls,
        model: GenerativeModel,
        data: Splits,
        score: str = FUSED,
        device: str = "auto",
        companions: Sequence[GenerativeModel] = (),
    ) -> "Detector":
        """Fit what the score needs on training images, and calibrate on validation images.

        Args:
            model: trained on `data.train`.
            data: in-distribution images; `test` is not touched.
            score: a name in `SCORES`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            companions: other models, for scores that compare: for `likelihood_ratio` one that was
                trained on the same data with noise, for `waic` others of an ensemble.

        Raises:
            UsageError: an unknown score, one that the model cannot give (the message has those that
                it can), or images of another shape than the model's.
        """
        expect(data, Splits, "Detector.fit")
        refuse_unfit(model, score, len(companions))
        target = choose_device(device)
        states = fit_scores(model, fitted_images(data), [score], target)
        held_out = score_images(model, data.validation, [score], target, states, companions)[:, 0]
        seen = fitted_images(data)[: len(held_out)]
        known = score_images(model, seen, [score], target, states, companions)[:, 0]
        warn_of_difference(known, held_out, data.validation.name)
        state, calibration = states.get(score, {}), Calibration.of(held_out)
        return cls(model.eval(), score, state, calibration, target, tuple(companions))

    def score(self, images: Images) -> NDArray[np.float64]:
        """float64 `[n]`, higher meaning further out; the same image always has the same score."""
        expect(images, Images, "Detector.score")
        states = {self.name: self.state}
        return score_images(
            self.model, images, [self.name], self.device, states, self.companions
        )[:, 0]  # fmt: skip

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
        """Write score, state, calibration and companions, without the model, into a folder."""
        tensors: dict[str, Mapping[str, Tensor]] = {
            "calibration": {"scores": torch.from_numpy(self.calibration.scores)}
        }
        if self.state:
            tensors["state"] = self.state
        for index, companion in enumerate(self.companions):
            tensors[f"companion_{index}"] = companion.state_dict()
        recipes = [describe(companion) for companion in self.companions]
        save_checkpoint(Path(folder), tensors, {"score": self.name, "companions": recipes})

    @classmethod
    def load(cls, folder: str | Path, model: GenerativeModel, device: str = "auto") -> "Detector":
        """What `save` wrote, with the model that it was fitted for.

        Raises:
            UsageError: the model cannot give the score.
            MachineError: there is none, or it is damaged.
        """
        tensors, state = load_checkpoint(Path(folder))
        companions = [
            _rebuilt(made, tensors[f"companion_{index}"])
            for index, made in enumerate(state["companions"])
        ]
        refuse_unfit(model, state["score"], len(companions))
        calibration = Calibration(tensors["calibration"]["scores"].numpy())
        learnt = tensors.get("state", {})
        target = choose_device(device)
        return cls(model.eval(), state["score"], learnt, calibration, target, companions)


def _rebuilt(made: dict[str, Any], weights: State) -> GenerativeModel:
    model = find_model(made["class_path"])(**made["init_args"])
    model.load_state_dict(weights)
    return model.eval()


def fitted_images(data: Splits) -> Images:
    """The training images from which a score learns, at most 10,000, evenly spaced."""
    return data.train[:: -(-len(data.train) // FITTED_IMAGES)]


def warn_of_difference(
    known: NDArray[np.float64], held_out: NDArray[np.float64], name: str
) -> None:
    """Say so where calibration images score unlike training images.

    The distance is Kolmogorov and Smirnov's, the largest between the two distribution functions.
    """
    test: Any = ks_2samp(known, held_out)
    if test.statistic > UNLIKE and test.pvalue < 0.001:
        say(
            f"warning: the calibration images of {name} do not look like the training images "
            f"(distance of their scores' distributions {test.statistic:.2f}): images of another "
            "kind are among them, or the model has learnt its training images by heart"
        )


def refuse_unfit(model: GenerativeModel, score: str, companions: int = 0) -> None:
    """Raise a `UsageError` if there is no such score, or the model cannot give it."""
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    if not SCORES[score].fits(model):
        raise UsageError(
            f"{type(model).__name__} cannot give the score {score}; it has "
            f"{', '.join(available(model, companions))}"
        )
    if companions < SCORES[score].companions:
        raise UsageError(
            f"the score {score} compares with another model; give companions (on the command line "
            "--companion RUN)"
        )
    if model.classes:
        raise UsageError(
            "a conditional model needs a label for every image, which new images do not have; "
            "train with classes 0 for detection"
        )
