"""From a model to its pictures, as far as its abilities allow."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import evaluation_batch, in_order, to_bytes, to_unit
from anogen.data.images import Images, has_captions
from anogen.errors import UsageError
from anogen.models.asking import Asking, sample_texts
from anogen.models.base import (
    Encodes,
    GenerativeModel,
    HasLikeness,
    HasPosterior,
    HasStyles,
    Model,
    Reconstructs,
    Sampler,
)
from anogen.models.conditions import conditions_for
from anogen.models.sampling import draw, own_sampler
from anogen.models.translator import Translator
from anogen.report import figures
from anogen.report.asked import wrapped
from anogen.report.gallery import Picture

MAP_POINTS = 3000
TRAVERSED = 8
"""How many latents a traversal shows at most."""


AMONG = 200
"""Captions among which those are looked for that the model shows worst."""
TRANSLATED = 8
"""Images of each domain that are shown translated."""
OF_ANY_MODEL = ("reconstructions", "restorations")
"""Pictures of models that make no new images, too."""

Maker = Callable[[Any, Images, int], Picture | None]


@torch.inference_mode()
def picture(kind: str, model: Model, images: Images, seed: int = 0) -> Picture:
    """One picture by its name in `PICTURES`.

    Raises:
        UsageError: the model lacks the ability that it needs.
    """
    drawn = _drawn(kind, model.eval(), images, seed)
    if drawn is None:
        raise UsageError(f"{type(model).__name__} cannot make the picture {kind!r}")
    return drawn


def all_pictures(model: Model, images: Images, seed: int = 0) -> Iterator[Picture]:
    """Every picture that the model's abilities allow."""
    model.eval()
    with torch.inference_mode():
        for kind in PICTURES:
            drawn = _drawn(kind, model, images, seed)
            if drawn is not None:
                yield drawn


def _drawn(kind: str, model: Any, images: Images, seed: int) -> Picture | None:
    if kind not in OF_ANY_MODEL and not isinstance(model, GenerativeModel):
        return None
    return PICTURES[kind](model, images, seed)


def _reconstructions(model: Model, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, Reconstructs):
        return None
    shown = _some(images, 30, seed)
    x = _tensor(shown)
    pairs = torch.stack([x, model.reconstruct(x, _labels(model, shown))])  # [2, n, c, h, w]
    per_row = len(shown) // 3 if len(shown) >= 3 else len(shown)
    rows = [pairs[:, start : start + per_row] for start in range(0, per_row * 3, per_row)]
    sheet = torch.cat([row for row in rows if row.shape[1] == per_row])
    labels = ["original", "reconstructed"] * (len(sheet) // 2)
    return Picture(
        "reconstructions",
        "Originals and reconstructions",
        "Test images, each above what the model makes of it.",
        figures.mosaic(to_bytes(sheet), labels=labels),
    )


def _restorations(model: Model, images: Images, seed: int) -> Picture | None:
    if model.damage is None or not isinstance(model, Reconstructs):
        return None
    shown = _some(images, 8, seed)
    x = _tensor(shown)
    damaged = model.damage.fixed(x, seed).clamp(0, 1)
    sheet = torch.stack([damaged, model.reconstruct(damaged, _labels(model, shown)), x])
    return Picture(
        "restorations",
        "Restored images",
        f"Test images, damaged by {model.damage.name}; what the model makes of them; the images "
        "as they are.",
        figures.mosaic(to_bytes(sheet), labels=["damaged", "restored", "original"]),
    )


def _translations(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, Translator) or images.labels is None:
        return None
    each = [np.flatnonzero(images.labels == domain) for domain in range(model.classes)]
    shown = images[np.concatenate([rows[:TRANSLATED] for rows in each])]
    x, own = _tensor(shown), _labels(model, shown)
    assert own is not None
    own = own[:, 0] if own.ndim > 1 else own
    as_all = [model.translate(x, torch.full_like(own, to)) for to in range(model.classes)]
    other = torch.stack(as_all)[(own + 1) % model.classes, torch.arange(len(x))]
    sheet = torch.stack([x, *as_all, model.translate(other, own)])
    labels = ["given", *(f"as {name}" for name in images.classes[: model.classes]), "back again"]
    return Picture(
        "translations",
        "Translations",
        "Test images of each domain, above what they become in every domain, and what comes back "
        "from another one.",
        figures.mosaic(to_bytes(sheet), labels=labels),
    )


def _captions(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not model.takes_text or images.captions is None:
        return None
    among = _some(images, AMONG, seed)
    assert among.captions is not None
    texts = [(*own, "")[0] for own in among.captions]
    tokens, size = model.asked(texts), evaluation_batch(model.shape)
    first = sample_texts(model, texts, Asking(seed))
    assert isinstance(model, HasLikeness)  # all that take texts are
    fits = torch.cat([
        model.likeness(x, text).diagonal()
        for x, text in zip(first.split(size), tokens.split(size), strict=True)
    ])  # fmt: skip
    order, middle = fits.argsort().cpu().numpy(), len(fits) // 2
    rows = np.concatenate([order[:5], order[middle : middle + 5]])
    shown, texts = among[rows], [texts[row] for row in rows]
    columns = [sample_texts(model, texts, Asking(seed + 1 + column)) for column in range(5)]
    sheet = torch.stack([_tensor(shown), first[rows], *columns], 1)
    return Picture(
        "captions",
        "Captions and what they give",
        f"Test images at the left, with their captions; then new images for these captions. Of "
        f"{len(fits)} captions those whose first new image fits worst, as the model itself judges, "
        "then some in the middle.",
        figures.mosaic(to_bytes(sheet), labels=[wrapped(text) for text in texts]),
    )


def _samples(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    return samples_picture(model, seed)


def samples_picture(
    model: GenerativeModel, seed: int = 0, label: int | None = None, sampler: Sampler | None = None
) -> Picture:
    """Ten new images in each row; the one picture that needs no images.

    Args:
        model: any.
        seed: of the draws.
        label: the label of all, for a conditional model; default: a row for each, ten at most.
        sampler: where the latents come from; default: the model's own.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = [label] * 10 if label is not None else [*range(min(model.classes, 10))]
    rows = len(kinds) if model.classes else 10
    labels = torch.tensor(kinds).repeat_interleave(10) if model.classes else None
    size = evaluation_batch(model.shape)
    with torch.inference_mode():
        drawn = torch.cat([*draw(model.eval(), 10 * rows, generator, size, labels, sampler)])
    own = own_sampler(model)
    named = (sampler or own).name
    source = "the prior" if named == "prior" else f"a {named} fitted to the training images"
    return Picture(
        "samples" if named == own.name else f"samples_{named}",
        f"Samples from the {named}",
        f"New images, decoded from latents drawn from {source}; none was chosen."
        + (" Each row is of one label." if model.classes else ""),
        figures.mosaic(
            to_bytes(drawn.unflatten(0, (rows, 10))),
            labels=[f"label {kind}" for kind in kinds] if model.classes else (),
        ),
    )


def _latent_map(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, Encodes):
        return None
    shown = _some(images, MAP_POINTS, seed)
    means = _posterior_tensor(model, shown).numpy()
    if len(means) < 3:
        return None
    if means.shape[1] == 2:
        points, axes = means, ("latent 1", "latent 2")
    elif means.shape[1] > 2:
        points, axes = principal_plane(means)
    else:
        return None
    return Picture(
        "latent_map",
        "Map of the latent space",
        f"Posterior means of {len(shown)} test images"
        + ("; colour and shape show the label" if shown.labels is not None else "")
        + f". Axes: {axes[0]} and {axes[1]}.",
        figures.scatter(points, shown.labels, shown.classes, "posterior means", axes),
    )


def _latent_grid(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if model.latent < 2:
        return None
    first, second = sorted(_most_active(model, images, 2, seed))
    steps = torch.special.ndtri(torch.linspace(0.03, 0.97, 15))
    z = torch.zeros(15, 15, model.latent)
    z[:, :, first] = steps[None, :]
    z[:, :, second] = -steps[:, None]
    labels = torch.zeros(225, dtype=torch.int64) if model.classes else _empty(model, 225)
    decoded = _decode(model, z.flatten(0, 1), labels).unflatten(0, (15, 15))
    rest = "" if model.latent == 2 else " All other latents are 0."
    rest += " The label is the first one." if model.classes else ""
    return Picture(
        "latent_grid",
        "The latent plane, decoded",
        f"Images decoded on a grid over latents {first + 1} (left to right) and {second + 1} "
        f"(bottom to top), at equal steps of prior probability from 3 % to 97 %.{rest}",
        figures.mosaic(to_bytes(decoded), scale=2),
    )


def _interpolation(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, Encodes) or len(images) < 2:
        return None
    ends = _different_ends(images, 8, seed)
    start, end = (_posterior_tensor(model, images[side]) for side in ends)
    weights = torch.linspace(0, 1, 11)
    labels = _labels(model, images[ends[0]])
    rows = torch.stack([_decode(model, torch.lerp(start, end, w), labels) for w in weights], 1)
    other = "another of a different label" if images.labels is not None else "another"
    return Picture(
        "interpolation",
        "Interpolation between images",
        "Each row goes along a straight line in latent space from one test image, reconstructed "
        f"at the left, to {other} at the right.",
        figures.mosaic(to_bytes(rows)),
    )


def _traversal(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, Encodes):
        return None
    latents = _most_active(model, images, min(TRAVERSED, model.latent), seed)
    image = _some(images, 1, seed)
    start, label = _posterior_tensor(model, image), _labels(model, image)
    steps = torch.linspace(-3, 3, 11)
    z = start.repeat(len(latents) * len(steps), 1).unflatten(0, (len(latents), len(steps)))
    for row, latent in enumerate(latents):
        z[row, :, latent] = steps
    labels = None if label is None else label.repeat_interleave(len(latents) * len(steps), 0)
    decoded = _decode(model, z.flatten(0, 1), labels).unflatten(0, (len(latents), len(steps)))
    return Picture(
        "traversal",
        "Traversal of single latents",
        "Each row varies one latent of one test image from −3 to 3 and keeps the others"
        + (
            "; the latents with the largest KL come first."
            if isinstance(model, HasPosterior)
            else "."
        ),
        figures.mosaic(to_bytes(decoded), labels=[f"latent {index + 1}" for index in latents]),
    )


def _kl_bars(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, HasPosterior):
        return None
    values = _kl_per_latent(model, images, seed)
    return Picture(
        "kl_per_latent",
        "What each latent carries",
        "KL divergence of the posterior from the prior per latent, in nats, largest first, mean "
        "over test images; a latent near 0 is not used.",
        figures.bars(values.tolist(), "KL per latent", "nats", "latent, by rank"),
    )


def _style_mixing(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, HasStyles):
        return None
    styles = model.styles(*_latents(model, 12, seed))
    coarse, fine = styles[:4], styles[4:]
    layers = styles.shape[1]
    change = (layers + 1) // 2
    mixed = coarse[:, None].repeat(1, len(fine), 1, 1)
    mixed[:, :, change:] = fine[None, :, change:]
    sheet = torch.zeros(5, 9, *model.shape)
    sheet[0, 1:] = model.synthesise(fine)
    sheet[1:, 0] = model.synthesise(coarse)
    sheet[1:, 1:] = model.synthesise(mixed.flatten(0, 1)).unflatten(0, (4, 8))
    return Picture(
        "style_mixing",
        "Style mixing",
        f"Each image takes the first {change} of its {layers} styles, the coarse ones, from the "
        "image at the left of its row, and the others from the image at the top of its column.",
        figures.mosaic(to_bytes(sheet)),
    )


def _truncation(model: GenerativeModel, images: Images, seed: int) -> Picture | None:
    if not isinstance(model, HasStyles):
        return None
    styles = model.styles(*_latents(model, 10, seed))
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    rows = torch.stack([model.synthesise(model.truncate(styles, share)) for share in shares])
    return Picture(
        "truncation",
        "Truncation",
        "The same ten latents with their styles pulled towards the mean style: to 0 % of their "
        "distance (the mean image), 25 %, 50 %, 75 %, and left where they are (100 %).",
        figures.mosaic(to_bytes(rows), labels=[f"{share:.0%}" for share in shares]),
    )


PICTURES: dict[str, Maker] = {
    "reconstructions": _reconstructions,
    "restorations": _restorations,
    "translations": _translations,
    "captions": _captions,
    "samples": _samples,
    "latent_map": _latent_map,
    "latent_grid": _latent_grid,
    "interpolation": _interpolation,
    "traversal": _traversal,
    "kl_per_latent": _kl_bars,
    "style_mixing": _style_mixing,
    "truncation": _truncation,
}
"""Every picture of a model by name, in the order of the page."""


def _latents(model: GenerativeModel, count: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Latents from the prior, with one label after another for a conditional model."""
    z = torch.randn(count, model.latent, generator=torch.Generator().manual_seed(seed))
    return z, torch.arange(count) % model.classes if model.classes else _empty(model, count)


def _empty(model: Model, count: int) -> Tensor | None:
    """Empty texts, for a model that takes texts."""
    return model.condition.random(count, None) if model.takes_text else None


def _some(images: Images, count: int, seed: int) -> Images:
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:count]]


def _tensor(images: Images) -> Tensor:
    return to_unit(torch.from_numpy(np.array(images.pixels[:])))


def _posterior_tensor(model: Encodes, images: Images) -> Tensor:
    """Posterior means `[n, latent]`."""
    batches = in_order(images, torch.device("cpu"))
    return torch.cat([model.posterior_mean(batch.x) for batch in batches])


def _labels(model: Model, images: Images) -> Tensor | None:
    """The images' labels, or captions, where the model is conditional on them."""
    if model.takes_text and not has_captions(images):
        return _empty(model, len(images))
    return conditions_for(model, images)


def _decode(model: GenerativeModel, z: Tensor, label: Tensor | None) -> Tensor:
    """Decoded images `[n, c, h, w]`, in passes of bounded size."""
    size = evaluation_batch(model.shape)
    labels = [None] * len(z) if label is None else label.split(size)
    return torch.cat([model.decode(*part) for part in zip(z.split(size), labels, strict=False)])


def principal_plane(means: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, str]]:
    """Points `[n, d]` on their two principal axes, `[n, 2]`, and the names of the axes."""
    from sklearn.decomposition import PCA

    plane = PCA(2).fit(means)
    shares = plane.explained_variance_ratio_
    names = [f"principal axis {i + 1} ({share:.0%} of the variance)"
             for i, share in enumerate(shares)]  # fmt: skip
    return plane.transform(means), (names[0], names[1])


def _kl_per_latent(model: HasPosterior, images: Images, seed: int) -> NDArray[Any]:
    batches = in_order(_some(images, 500, seed), torch.device("cpu"))
    return torch.cat([model.kl(batch.x) for batch in batches]).mean(0).numpy()


def _most_active(model: GenerativeModel, images: Images, count: int, seed: int) -> list[int]:
    """Indices of the latents with the largest KL, largest first; the first ones without a KL."""
    if not isinstance(model, HasPosterior):
        return list(range(count))
    return np.argsort(-_kl_per_latent(model, images, seed), kind="stable")[:count].tolist()


def _different_ends(
    images: Images, count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of pairs of images, of different labels where there are labels."""
    rng = np.random.default_rng(seed)
    starts = rng.permutation(len(images))[:count]
    ends: list[int] = []
    for start in starts:
        others = np.arange(len(images))
        if images.labels is not None and len(set(images.labels.tolist())) > 1:
            others = np.flatnonzero(images.labels != images.labels[start])
        ends.append(int(rng.choice(others)))
    return starts, np.array(ends)
