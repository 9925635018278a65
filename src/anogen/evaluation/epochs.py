"""How good samples are at the end of an epoch, by which the best one of a game is chosen."""

import torch

from anogen.data.splits import Splits
from anogen.evaluation.distances import frechet_distance
from anogen.evaluation.features import feature_extractor
from anogen.evaluation.generation import sample_images
from anogen.models.base import GenerativeModel
from anogen.models.conditions import conditions_for
from anogen.models.sampling import PriorSampler

COMPARED = 5_000
"""Validation images, and samples, that are compared at most."""
FEWEST = 10
"""With fewer validation images a distance means nothing."""


class SampleDistance:
    """The Fréchet distance of samples from validation images, in the features of a small net.

    The losses of a game do not say which of its epochs is best; this does.

    Args:
        data: whose training images teach the net, the first time that it is needed, and whose
            validation images samples are compared with, at most 5,000 of them. Test images have no
            part in it.
        device: of net and model.

    Attributes:
        features: the name of the net.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> distance = SampleDistance(digits, torch.device("cpu"))
        >>> distance(anogen.GAN(digits.shape)) > 1
        True
    """

    def __init__(self, data: Splits, device: torch.device) -> None:
        images = data.validation.evenly(min(COMPARED, len(data.validation)))
        seen = Splits(data.train, data.validation, data.validation)
        self._extract, self._device = feature_extractor(seen, device), device
        self.features = self._extract.name
        self._count = len(images)
        self._real, self._images = self._extract(images, device)[0], images

    def __call__(self, model: GenerativeModel) -> float:
        """Of as many samples from the prior as images, always with the same noise; ≥ 0.

        Of a model that takes texts, samples of the images' captions.
        """
        asked = conditions_for(model, self._images) if model.takes_text else None
        drawn = sample_images(model, self._count, 0, PriorSampler(model.latent), asked)
        return frechet_distance(self._real, self._extract(drawn, self._device)[0])
