"""Every measure in one table: title, unit, which way is better, how it is computed.

`anogen evaluate`, the comparison of runs, a run's page and `anogen reproduce` read it. A new one is
a function beside the others, in `reconstruction.py` or `distances.py`, and an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor

from anogen.data.images import is_table
from anogen.evaluation.distances import (
    Features,
    Labels,
    class_kl,
    coverage,
    density,
    frechet_distance,
    kernel_distance,
    manifold_share,
)
from anogen.evaluation.reconstruction import (
    cosine_similarity,
    mean_squared_error,
    psnr_db,
    sharpness,
)
from anogen.models.base import GenerativeModel, HasLikelihood, HasPosterior, Model, Reconstructs
from anogen.models.terms import squared_error


@dataclass(frozen=True, eq=False)
class Seen:
    """Real images with what a model makes of them, computed once for all measures.

    Attributes:
        model: in evaluation mode.
        x: float32 `[b, c, h, w]` in [0, 1].
        condition: what the model may be conditional on, or None.
    """

    model: Any
    x: Tensor
    condition: Tensor | None = None

    @cached_property
    def rebuilt(self) -> Tensor:
        """The reconstructions, `[b, c, h, w]`, of a model that has them.

        Of one that does nothing but restore, those of damaged images.
        """
        model: Any = self.model
        generates = issubclass(type(model), GenerativeModel)
        damage = None if generates else getattr(model, "damage", None)
        given = self.x if damage is None else damage.fixed(self.x, 0)
        return model.reconstruct(given, self.condition)

    @cached_property
    def kl_per_latent(self) -> Tensor:
        """KL of each latent's posterior from the prior, nats `[b, latent]`."""
        return self.model.kl(self.x)


@dataclass(frozen=True)
class Described:
    """Images as a classifier sees them.

    Attributes:
        features: float64 `[n, d]`.
        labels: int64 `[n]`, the most likely ones.
        classes: how many there are.
    """

    features: Features
    labels: Labels
    classes: int


@dataclass(frozen=True)
class Measure:
    """One number about a run.

    Attributes:
        title: what people call it.
        meaning: its unit, and how to read it.
        better: which way is better; None where neither is, or where only runs of one kind compare.
        per_image: what a model makes of real images → `[b]`; the mean is reported, with an
            interval over images.
        needs: the abilities that a model must have for it.
        of_samples: real images, new ones → the number; real training images in the place of the
            new ones give its floor.
        of_classes: whether that is about the labels of images.
        compared: whether runs are compared by it.
        of_pictures: whether it means nothing for the rows of a table.
    """

    title: str
    meaning: str
    better: Literal["lower", "higher"] | None = None
    per_image: Callable[[Seen], Tensor] | None = None
    needs: tuple[type, ...] = ()
    of_samples: Callable[[Described, Described], float] | None = None
    of_classes: bool = False
    compared: bool = True
    of_pictures: bool = False


def _of_reconstruction(
    title: str,
    meaning: str,
    better: Literal["lower", "higher"] | None,
    function: Callable[[Tensor, Tensor], Tensor],
    compared: bool = True,
) -> Measure:
    """A comparison of images with their reconstructions: two `[b, c, h, w]` → `[b]`."""
    return Measure(title, meaning, better, lambda seen: function(seen.x, seen.rebuilt),
                   (Reconstructs,), compared=compared)  # fmt: skip


MEASURES: dict[str, Measure] = {
    "squared_error": _of_reconstruction(
        "squared error per image", "summed over pixels on the [0, 1] scale", "lower", squared_error
    ),
    "mean_squared_error": _of_reconstruction(
        "mean squared error", "per pixel, [0, 1] scale", "lower", mean_squared_error, False
    ),
    "cosine_similarity": _of_reconstruction(
        "cosine similarity", "of image and reconstruction as vectors", "higher", cosine_similarity
    ),
    "psnr_db": _of_reconstruction("PSNR", "decibels", "higher", psnr_db, False),
    "elbo_nats": Measure(
        "ELBO", "nats per image; a lower bound on log p(x), to be compared within one likelihood",
        None, lambda seen: seen.model.elbo(seen.x, seen.condition), (HasLikelihood,),
    ),
    "log_likelihood_nats": Measure(
        "importance-weighted log-likelihood", "nats per image; a tighter bound", compared=False
    ),
    "kl_nats": Measure(
        "KL", "nats per image; what the latents carry", None,
        lambda seen: seen.kl_per_latent.sum(1), (HasPosterior,),
    ),
    "sharpness_data": Measure(
        "sharpness of the data", "variance of the Laplacian", None,
        lambda seen: sharpness(seen.x), compared=False, of_pictures=True,
    ),
    "sharpness_reconstruction": Measure(
        "sharpness of reconstructions", "variance of the Laplacian", None,
        lambda seen: sharpness(seen.rebuilt), (Reconstructs,), of_pictures=True,
    ),
    "sharpness_samples": Measure("sharpness of samples", "variance of the Laplacian"),
    "frechet_distance": Measure(
        "Fréchet distance",
        "samples from test images, in the classifier's features; lower is better", "lower",
        of_samples=lambda real, new: frechet_distance(real.features, new.features),
    ),
    "kernel_distance": Measure(
        "kernel distance", "squared MMD in the same features; lower is better", "lower",
        of_samples=lambda real, new: kernel_distance(real.features, new.features),
    ),
    "precision": Measure(
        "precision", "share of samples that lie among the real images", "higher",
        of_samples=lambda real, new: manifold_share(new.features, real.features),
    ),
    "recall": Measure(
        "recall", "share of real images that lie among the samples", "higher",
        of_samples=lambda real, new: manifold_share(real.features, new.features),
    ),
    "density": Measure(
        "density", "real neighbourhoods around a sample; may exceed 1", "higher",
        of_samples=lambda real, new: density(new.features, real.features),
    ),
    "coverage": Measure(
        "coverage", "share of real images with a sample nearby", "higher",
        of_samples=lambda real, new: coverage(new.features, real.features),
    ),
    "classes_covered": Measure(
        "classes among the samples", "as the classifier sees them", "higher", of_classes=True,
        of_samples=lambda _, new: int((np.bincount(new.labels, minlength=new.classes) > 0).sum()),
    ),
    "class_kl_nats": Measure(
        "class imbalance", "KL of the samples' classes from the data's, nats", "lower",
        of_classes=True,
        of_samples=lambda real, new: class_kl(new.labels, real.labels, real.classes),
    ),
    "nearest_train_distance": Measure(
        "distance to the nearest training image",
        "Euclidean, in pixels; far below real images' it would mean copies",
    ),
    "r_precision": Measure(
        "captions found", "share of new images that fit their own caption better than 99 others",
        "higher",
    ),
    "variety": Measure(
        "variety of one text", "root mean square difference of two images of one text, [0, 1] "
        "scale; beside it, of images of different texts", "higher",
    ),
    "images_per_s": Measure("training speed", "images per second, on the machine of the run"),
}  # fmt: skip
"""Every measure by its name in `evaluation.json`, in the order in which they are shown. One without
a function here takes a pass of its own, in `evaluate`, `evaluate_generation` or training."""


def compared() -> list[str]:
    """The names of the measures by which runs are compared, in the table's order."""
    return [name for name, measure in MEASURES.items() if measure.compared]


def per_image(model: Model) -> dict[str, Callable[[Seen], Tensor]]:
    """The measures on real images that a model can give."""
    return {
        name: measure.per_image
        for name, measure in MEASURES.items()
        if measure.per_image
        and all(isinstance(model, ability) for ability in measure.needs)
        and not (measure.of_pictures and is_table(model.shape))
    }
