"""Why an image has the score that it has: pixel by pixel, statistic by statistic, by likeness."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.data.batches import in_order
from anogen.data.images import Images
from anogen.data.sources import Given, images_of
from anogen.detection.detector import Detector
from anogen.detection.scores import FUSED, SCORES
from anogen.detection.scores.fused import density_of, measured, statistics
from anogen.detection.scores.pixels import image_distances
from anogen.detection.scores.surprises import OUT_OF_FOLD, TINY, surprises, usual_of
from anogen.detection.view import exactly, views
from anogen.models.base import Reconstructs

NEAR_PART = 2000
"""Training images that are compared at once, so that a few of them are in float64."""
MOST_IMAGES = 1000
"""Explanations hold maps and reconstructions, so that only so many images are explained at once."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What lies behind the scores of a few images.

    Attributes:
        scores: float64 `[n]`.
        map: float64 `[n, c, h, w]`, what each pixel adds: of a score that is a sum over pixels it
            sums to the score; of another score of a model that reconstructs, its squared error;
            None for a model that does not reconstruct.
        adds_up: whether `map` sums to the score.
        rebuilt: float32 `[n, c, h, w]` in [0, 1], what the model made of the images, or None.
        statistics: of the fused score, name → float64 `[n]`: how many nats of surprise would go if
            nobody looked at this statistic. They need not sum to the score, because statistics
            depend on one another; a negative one is a statistic that speaks for the image. Of a
            table's fused score: what each adds to it.
        values: of the fused score, name → float64 `[n]`, the statistic itself, in standard
            deviations from its mean over training images.
        nearest: int64 `[n, k]`, rows of the training images that are nearest in squared error.
        distances: float64 `[n, k]`, those squared errors, ascending.
    """

    scores: NDArray[np.float64]
    map: NDArray[np.float64] | None
    adds_up: bool
    rebuilt: NDArray[np.float32] | None
    statistics: dict[str, NDArray[np.float64]]
    values: dict[str, NDArray[np.float64]]
    nearest: NDArray[np.int64]
    distances: NDArray[np.float64]


@torch.no_grad()
def explain(
    detector: Detector, images: Given, training: Images | None = None, neighbours: int = 3
) -> Explanation:
    """Explain the scores of at most 1,000 images.

    Args:
        detector: of any score.
        images: those to explain; as for `Detector.score`.
        training: images among which the nearest are looked up, usually `data.train`, or None.
        neighbours: how many of them.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> model = anogen.VAE(digits.shape, latent=2)
        >>> detector = anogen.Detector.fit(model, digits, "squared_error")
        >>> found = explain(detector, digits.test[:2], digits.train)
        >>> bool(np.allclose(found.map.sum((1, 2, 3)), found.scores))
        True
    """
    given = images_of(images, detector.model.shape, detector.pictures, "explain", detector.columns)
    images = next(iter(given))[:MOST_IMAGES]
    maps, rebuilt, values = [], [], []
    reconstructs = isinstance(detector.model, Reconstructs)
    score = SCORES[detector.name]
    mapped = score if score.map else SCORES["squared_error"]
    seen = views(detector.prepared, images)
    with exactly():
        for view, count in seen:
            if reconstructs or score.map:
                maps.append(mapped.map_of(view, detector.state)[:count].double().cpu())
            if reconstructs:
                rebuilt.append(view.rebuilt[:count].float().cpu())
            if detector.name == FUSED:
                values.append(measured(view, detector.state)[:count])
    distances, nearest = _nearest(images, training, neighbours, detector.device)
    shares, deviations = {}, {}
    if detector.name == FUSED:
        names = statistics(detector.model)
        shares, deviations = _breakdown(detector, torch.cat(values).numpy(), names)
    return Explanation(
        detector.score(images),
        torch.cat(maps).numpy() if maps else None,
        score.map is not None and score.sums,
        torch.cat(rebuilt).numpy() if rebuilt else None,
        shares, deviations, nearest.numpy(), distances.numpy(),
    )  # fmt: skip


def _nearest(
    images: Images, training: Images | None, neighbours: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors and rows of the nearest training images, ascending, `[n, k]` each."""
    distances = [torch.zeros(len(images), 0, dtype=torch.float64)]
    for part in () if training is None else training.in_parts():
        for pixels in torch.from_numpy(np.array(part.pixels[:])).split(NEAR_PART):
            rows = [image_distances(x, pixels).cpu() for x, _ in in_order(images, device)]
            distances.append(torch.cat(rows))
    among = torch.cat(distances, 1)
    return among.topk(min(neighbours, among.shape[1]), largest=False)


def _breakdown(
    detector: Detector, values: NDArray[np.float64], names: list[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Nats that go without each statistic, and each in standard deviations.

    Of a table, whose statistics' surprises are added up: what each adds.
    """
    if OUT_OF_FOLD in detector.state:
        usual = usual_of(detector.state)
        added = surprises(torch.from_numpy(values), usual).T.numpy()
        mean, scale = usual.mean(1).numpy(), usual.std(1).numpy() + TINY
        return dict(zip(names, added, strict=True)), dict(
            zip(names, ((values - mean) / scale).T, strict=True)
        )
    density = density_of(detector.state)
    whole = density.surprise(values)
    shares: dict[str, NDArray[np.float64]] = {}
    for index, name in enumerate(names):
        others = density.without(index).surprise(np.delete(values, index, axis=1))
        shares[name] = whole - others
    standard = (values - density.mean) / density.scale
    return shares, {name: standard[:, index] for index, name in enumerate(names)}
