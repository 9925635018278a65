"""How good new images are: drawn, described by a classifier, and compared with real ones."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anogen.data.batches import evaluation_batch, in_order, to_bytes
from anogen.data.images import Images, images_from_array
from anogen.data.splits import Splits, expect
from anogen.device import choose_device, memory_advice
from anogen.errors import UsageError
from anogen.evaluation.features import feature_extractor
from anogen.evaluation.measures import MEASURES, Described
from anogen.evaluation.reconstruction import mean_with_interval, sharpness
from anogen.models.base import GenerativeModel, Sampler, refuse_no_model
from anogen.models.conditions import conditions_for
from anogen.models.sampling import draw, own_sampler
from anogen.progress import Progress, say

Result = dict[str, Any]

MIN_COMPARED = 10
"""Below as many images, covariances and neighbourhoods mean nothing."""
COMPARED_PIXELS = 1000
"""Samples whose nearest training image is looked up, in pixels."""


def evaluate_generation(
    model: GenerativeModel,
    data: Splits,
    *,
    samples: int = 10_000,
    sampler: Sampler | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Result:
    """Compare new images with the test images; real training images set the floor.

    Args:
        model: from `Run.load_model`, or any other.
        data: a net is trained on it for the features: a classifier of its labels, or, without
            labels, one that tells turned images apart, and then nothing is said of classes.
        samples: how many new images to draw, of a model that takes texts from the captions of test
            images; as many test and training images are compared, fewer
            where there are fewer.
        sampler: of the latents, for example an `anogen.PriorSampler`; default: the model's own.
        seed: of the draws; the same seed gives the same numbers.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        Flat. Against the test images, in the features of the net named `feature_extractor` (of
        `feature_extractor_accuracy`): `frechet_distance`, `kernel_distance`, `precision`,
        `recall`, `density`, `coverage`; with labels `classes_covered` of `classes` and
        `class_kl_nats`. Each has a twin with the ending `_floor`, real training images in the place
        of samples. In pixels: `sharpness_samples` with its 95 % interval, `nearest_train_distance`
        (Euclidean, mean) and its `_floor`, the test images': a value far below the floor means
        memorised images.

    Raises:
        UsageError: fewer than two samples, or images of another shape than the model's.

    Examples:
        >>> import anogen
        >>> digits = anogen.load_data("digits")
        >>> model = anogen.VAE(digits.shape, latent=2)
        >>> result = anogen.evaluate_generation(model, digits, samples=100)
        >>> result["frechet_distance"] > result["frechet_distance_floor"]
        True
    """
    refuse_no_model(model, "evaluate_generation")
    expect(data, Splits, "evaluate_generation")
    if samples < 2:
        raise UsageError(f"samples must be at least 2, found {samples}")
    if isinstance(sampler, str):
        raise UsageError(
            f"sampler {sampler!r}: give an object, such as "
            "anogen.MixtureSampler.fit(model, data.train)"
        )
    if data.shape != model.shape:
        raise UsageError(f"{data.name}: images of {data.shape}, the model has {model.shape}")
    target = choose_device(device)
    model = model.eval().to(target)
    with memory_advice("draw fewer samples, or use a narrower model"):
        asked = None
        if model.takes_text:
            rows = np.arange(samples) % len(data.test)
            asked = conditions_for(model, data.test[rows])
        drawn = sample_images(model, samples, seed, sampler, asked)
        result = measure_samples(drawn, data, device=device)
    return {"sampler": (sampler or own_sampler(model)).name} | result


def measure_samples(drawn: Images | NDArray[Any], data: Splits, *, device: str = "auto") -> Result:
    """Compare any generator's images with a data set; `evaluate_generation` says with what.

    Args:
        drawn: from whatever made them; an array as `anogen.images_from_array` takes it.
        data: as in `evaluate_generation`.
        device: of the classifier.

    Raises:
        UsageError: fewer than two samples, or images of another shape than the data's.
    """
    expect(data, Splits, "measure_samples")
    if not isinstance(drawn, Images):
        drawn = images_from_array(np.asarray(drawn), "samples")
    if len(drawn) < 2:
        raise UsageError(f"samples must be at least 2, found {len(drawn)}")
    if drawn.shape != data.shape:
        raise UsageError(f"{drawn.name}: images of {drawn.shape}, {data.name} has {data.shape}")
    target = choose_device(device)
    count = min(len(drawn), len(data.test), len(data.train))
    real, other = data.test.evenly(count), data.train.evenly(count)
    result: Result = {"generated": len(drawn), "compared_with": count}
    result |= _sharpness(drawn)
    result |= _memorisation(drawn, real, data.train)
    if count < MIN_COMPARED:
        say(f"{count} images are too few for distances in features; {MIN_COMPARED} are needed")
        return result
    extract = feature_extractor(data, target)
    seen, new, again = (
        Described(*extract(images, target), extract.classes)
        for images in (real, drawn[:count], other)
    )
    result |= _against(seen, new)
    result |= {f"{name}_floor": value for name, value in _against(seen, again).items()}
    result |= {"feature_extractor": extract.name, "feature_extractor_accuracy": extract.accuracy}
    return result | ({"classes": extract.classes} if extract.classes else {})


def sample_images(
    model: GenerativeModel,
    count: int,
    seed: int = 0,
    sampler: Sampler | None = None,
    condition: Tensor | None = None,
) -> Images:
    """New images as a data set, rounded to bytes as every image is; `condition`: one for each."""
    generator = torch.Generator().manual_seed(seed)
    size = evaluation_batch(model.shape)
    pixels = np.empty((count, *model.shape), np.uint8)
    with torch.inference_mode(), Progress("sampling", count) as bar:
        start = 0
        for x in draw(model.eval(), count, generator, size, condition, sampler):
            pixels[start : start + len(x)] = to_bytes(x)
            start += len(x)
            bar.advance(len(x))
    return Images(pixels, "samples")


def _against(real: Described, other: Described) -> Result:
    """Every distance in features of other images from real ones."""
    return {
        name: measure.of_samples(real, other)
        for name, measure in MEASURES.items()
        if measure.of_samples and (real.classes or not measure.of_classes)
    }


def _sharpness(images: Images) -> Result:
    parts = [sharpness(x).numpy() for x, _ in in_order(images, torch.device("cpu"))]
    return mean_with_interval("sharpness_samples", np.concatenate(parts))


def _memorisation(drawn: Images, real: Images, train: Images) -> Result:
    """Mean distance to the nearest training image, of samples and of as many test images."""
    nearest = [
        float(nearest_images(rows_of(images.evenly(COMPARED_PIXELS)), train)[0].mean())
        for images in (drawn, real)
    ]
    return {"nearest_train_distance": nearest[0], "nearest_train_distance_floor": nearest[1]}


def nearest_images(rows: NDArray[Any], among: Images) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Euclidean distance of each row to the nearest image, and its place; read piece by piece."""
    least, place = np.full(len(rows), np.inf), np.zeros(len(rows), np.int64)
    for start in range(0, len(among), 5000):
        part = NearestNeighbors(n_neighbors=1, algorithm="brute")
        part.fit(rows_of(among[start : start + 5000]))
        distances, places = (found[:, 0] for found in part.kneighbors(rows))
        nearer = distances < least
        least[nearer], place[nearer] = distances[nearer], start + places[nearer]
    return least, place


def rows_of(images: Images) -> NDArray[Any]:
    """Pixels in a row, float32 `[n, values]` in [0, 1]."""
    return np.asarray(images.pixels[:], np.float32).reshape(len(images), -1) / 255
