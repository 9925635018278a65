"""How good samples are at the end of an epoch, by which the best one of a game is chosen."""

import torch

from anogen.data.splits import Splits
from anogen.evaluation.distances import frechet_distance
from anogen.evaluation.features import feature_extractor
from anogen.evaluation.generation import sample_images
from anogen.models.base import GenerativeModel
from anogen.models.sampling import PriorSampler

COMPARED = 5_000
"""Validation images, and samples, that are compared at most."""


class SampleDistance:
    """The Fréchet distance of samples from validation images, in the features of a small net.

    The losses of a game do not say which of its epochs is best; this does.

    Args:
        data: whose training images teach the net (once; see `feature_extractor`), and whose
            validation images samples are compared with, at most 5,000 of them.
        device: of net and model.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> distance = SampleDistance(digits, torch.device("cpu"))
        >>> distance(anogen.GAN(digits.shape)) > 1
        True
    """

    def __init__(self, data: Splits, device: torch.device) -> None:
        images = data.validation.evenly(min(COMPARED, len(data.validation)))
        self._extract, self._device = feature_extractor(data, device), device
        self._count = len(images)
        self._features = self._extract(images, device)[0]

    def __call__(self, model: GenerativeModel) -> float:
        """Of as many samples from the prior as images, always with the same noise; ≥ 0."""
        drawn = sample_images(model, self._count, sampler=PriorSampler(model.latent))
        return frechet_distance(self._features, self._extract(drawn, self._device)[0])
