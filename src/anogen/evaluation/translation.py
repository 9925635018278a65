"""How well images are translated from domain to domain: beside copies, and beside the real ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.batches import in_order, to_bytes
from anogen.data.images import Images
from anogen.data.splits import Splits, expect
from anogen.device import choose_device, memory_advice
from anogen.errors import UsageError, whole_number
from anogen.evaluation.distances import frechet_distance
from anogen.evaluation.features import (
    Classifier,
    can_be_classified,
    feature_extractor,
    trained_classifier,
)
from anogen.evaluation.generation import MIN_COMPARED, nearest_images, rows_of
from anogen.evaluation.reconstruction import WINDOW, mean_with_interval, psnr_db, ssim
from anogen.models.translator import Translator
from anogen.progress import Progress

Result = dict[str, Any]
ADAPTATION_STEPS = 1000
"""Steps of a classifier that learns from translations."""
MEASURES: dict[str, str] = {
    "frechet_distance": "Fréchet distance to the target; lower is better",
    "accuracy": "label accuracy, of a classifier of the target",
    "adaptation_accuracy": "of a classifier trained on translations, on target images",
    "psnr_db": "PSNR against the true ones, decibels",
    "ssim": "SSIM with the true ones",
    "cycle_error": "lost there and back, per pixel, white 1",
    "identity_error": "lost in the own domain, per pixel, white 1",
}
"""What is measured of translations, and what it is called."""
CPU = torch.device("cpu")
BESIDE = {"_copy": "untranslated", "_nearest": "nearest pair", "_real": "real images"}
"""What stands beside a number, by the ending of its name; a floor is of real images too."""


def evaluate_translation(
    model: Translator,
    data: Splits,
    domains: Sequence[Splits],
    *,
    images: int = 10_000,
    adaptation_steps: int = ADAPTATION_STEPS,
    device: str = "auto",
) -> list[Result]:
    """Translate the test images of each domain to every other one, and measure what became of them.

    Args:
        model: in any mode; it is left in evaluation mode.
        data: what it was trained on, the domain as label.
        domains: each domain alone, in the size of `data` and in the order of its labels; with the
            labels of what they show where these are known, the same ones in all domains.
        images: test images of each domain, evenly spaced, and training images that are translated
            for a classifier to learn from, at most.
        adaptation_steps: of that classifier, of 128 images each; 0: none is trained.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        For each pair of domains one flat dictionary, `from` and `to`, with 95 % intervals over
        images under `name_low` and `name_high` where a number is a mean.

        Always: `cycle_error` and `identity_error`, absolute differences per pixel, white 1, of
        images that were translated and back, or reconstructed. With ten test images or more, as
        many of each as there are of the fewest: `frechet_distance` of translations
        from the test images of the target, in the features of a net that was trained on it, with
        `frechet_distance_copy`, of images as they were, and `frechet_distance_floor`, of real
        training images of the target.

        With labels: `accuracy`, share of the translations that a classifier of the target domain
        takes for what they were, with `accuracy_copy` of images as they were and `accuracy_real` of
        the target's test images; `adaptation_accuracy`, share of the target's test images that a
        classifier gets right which learnt from translations with the labels of the source, with
        `adaptation_accuracy_copy` where it learnt from images as they were, and
        `adaptation_accuracy_real` where it learnt from the target.

        With pairs: `psnr_db` and `ssim` of translations against the true ones, with `_copy`, and
        `_nearest` of the partner of the most similar training image, which `frechet_distance` has
        too.

    Raises:
        UsageError: domains of another number or shape than the model's.

    Examples:
        >>> import anogen
        >>> from anogen.data.domains import side_by_side
        >>> domains = [anogen.load_data("digits"), anogen.load_data("digits+inversion")]
        >>> model = anogen.Translator((1, 28, 28), width=4)
        >>> rows = evaluate_translation(
        ...     model, side_by_side(domains), domains, images=100, adaptation_steps=0)
        >>> [(row["from"], row["to"]) for row in rows]
        [('digits', 'digits+inversion'), ('digits+inversion', 'digits')]
    """
    expect(data, Splits, "evaluate_translation")
    steps = whole_number("adaptation_steps", adaptation_steps)
    if min(whole_number("images", images) - 2, steps) < 0:
        raise UsageError("images must be at least 2, and adaptation_steps must not be negative")
    if len(domains) != model.classes or any(each.shape != model.shape for each in domains):
        raise UsageError(
            f"the model has {model.classes} domains of {model.shape}, found "
            f"{', '.join(f'{each.name} of {each.shape}' for each in domains)}"
        )
    target = choose_device(device)
    model = model.eval().to(target)
    names = data.train.classes
    with memory_advice("evaluate smaller images, or a narrower model"):
        judges = [_Judge(domain, target) for domain in domains]
        rows: list[Result] = []
        for a, b in permutations(range(len(domains)), 2):
            of_pairs, partners = _against_partners(model, data, a, b, images)
            direction = _Direction(model, a, b, domains[a], judges[b], images, partners)
            measured = direction.measured(adaptation_steps)
            rows.append({"from": names[a], "to": names[b]} | measured | of_pairs)
        return rows


def shown(row: Result) -> list[list[str]]:
    """The numbers of one pair of domains as a table of text, its heading first.

    >>> for line in shown({"from": "a", "to": "b", "ssim": 0.5, "ssim_low": 0.4, "ssim_high": 0.6}):
    ...     print(line)
    ['a to b', 'translated', '95 % interval', 'untranslated', 'nearest pair', 'real images']
    ['SSIM with the true ones', '0.5', '0.4 to 0.6', '', '', '']
    """
    lines = [[f"{row['from']} to {row['to']}", "translated", "95 % interval", *BESIDE.values()]]
    for name, title in MEASURES.items():
        if name in row:
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            beside = {ending: row.get(f"{name}{ending}") for ending in BESIDE}
            beside["_real"] = row.get(f"{name}_floor", beside["_real"])
            interval = "" if low is None else f"{low:.4g} to {high:.4g}"
            others = ["" if value is None else f"{value:.4g}" for value in beside.values()]
            lines.append([title, f"{row[name]:.4g}", interval, *others])
    return lines


class _Judge:
    """What knows a domain: a net of its own, and its test images."""

    def __init__(self, domain: Splits, device: torch.device) -> None:
        self.domain, self.device = domain, device
        enough = len(domain.test) >= MIN_COMPARED
        self.extract = feature_extractor(domain, device) if enough else None

    def distances(self, others: Mapping[str, Images], most: int) -> Result:
        """Of other images by ending from the test images, of as many each, for fewer are further.

        Nothing where there are too few.
        """
        real = self.domain.test.evenly(most)
        count = min(map(len, (real, *others.values())))
        if self.extract is None or count < MIN_COMPARED:
            return {}
        of_real = self.extract(real.evenly(count), self.device)[0]
        return {
            f"frechet_distance{ending}": frechet_distance(
                of_real, self.extract(images.evenly(count), self.device)[0]
            )
            for ending, images in others.items()
        }


class _Direction:
    """From one domain to another."""

    def __init__(
        self,
        model: Translator,
        source: int,
        target: int,
        domain: Splits,
        judge: _Judge,
        most: int,
        partners: Images | None,
    ) -> None:
        self.model, self.source, self.target, self.device = model, source, target, judge.device
        self.judge, self.most, self.partners = judge, most, partners
        self.test, self.train = domain.test.evenly(most), domain.train.evenly(most)
        labelled = can_be_classified(domain) and can_be_classified(judge.domain)
        self.labelled = labelled and domain.train.classes == judge.domain.train.classes

    def measured(self, adaptation_steps: int) -> Result:
        translated, errors = translated_images(self.model, self.test, self.target, self.source)
        result: Result = {"images": len(self.test)}
        for name, values in errors.items():
            result |= mean_with_interval(name, values)
        real = self.judge.domain.test.evenly(self.most)
        others = {"": translated, "_copy": self.test, "_floor": self.judge.domain.train}
        if self.partners is not None:
            others |= {"_nearest": self.partners}
        result |= self.judge.distances(others, self.most)
        if self.labelled and self.judge.extract is not None:
            result |= self._accuracies(self.judge.extract.net, translated, real)
            if adaptation_steps:
                result |= self._adaptation(adaptation_steps, real)
        return result

    def _accuracies(self, net: Classifier, translated: Images, real: Images) -> Result:
        result: Result = {}
        for ending, images in (("", translated), ("_copy", self.test), ("_real", real)):
            result |= mean_with_interval(f"accuracy{ending}", _right(net, images, self.device))
        return result

    def _adaptation(self, steps: int, real: Images) -> Result:
        translated, _ = translated_images(self.model, self.train, self.target)
        own = self.judge.domain.train.evenly(self.most)
        result: Result = {}
        for ending, images in (("", translated), ("_copy", self.train), ("_real", own)):
            net = trained_classifier(images, len(images.classes), self.device, steps)
            right = _right(net, real, self.device)
            result |= mean_with_interval(f"adaptation_accuracy{ending}", right)
        return result


@torch.inference_mode()
def translated_images(
    model: Translator, images: Images, target: int, source: int | None = None
) -> tuple[Images, dict[str, NDArray[Any]]]:
    """Images as another domain has them, rounded to bytes, with their labels.

    Args:
        model: in evaluation mode.
        images: of any domain.
        target: the number of the domain that they are to become.
        source: that of their own; default: no errors are measured.

    Returns:
        The images, and float `[n]` `cycle_error` and `identity_error`, absolute differences per
        pixel, white 1.
    """
    device = next(model.parameters()).device
    pixels = np.empty((len(images), *model.shape), np.uint8)
    errors: dict[str, list[Tensor]] = {"cycle_error": [], "identity_error": []}
    start = 0
    with Progress("translating", len(images)) as bar:
        for x, _ in in_order(images, device):
            to = torch.full((len(x),), target, device=device)
            y = model.translate(x, to)
            pixels[start : start + len(x)] = to_bytes(y)
            if source is not None:
                own = torch.full_like(to, source)
                for name, back in (("cycle_error", y), ("identity_error", x)):
                    again = model.translate(back, own)
                    errors[name].append((again - x).abs().flatten(1).mean(1).cpu())
            start += len(x)
            bar.advance(len(x))
    measured = {} if source is None else {k: torch.cat(v).numpy() for k, v in errors.items()}
    return replace(images, pixels=pixels, name=f"{images.name}, translated"), measured


@torch.inference_mode()
def _right(net: Classifier, images: Images, device: torch.device) -> NDArray[np.float64]:
    """1 for each image that is labelled right, else 0."""
    net = net.to(device)
    found = [(net(x).argmax(1) == label).double().cpu() for x, label in in_order(images, device)]
    return torch.cat(found).numpy()


def _against_partners(
    model: Translator, data: Splits, source: int, target: int, most: int
) -> tuple[Result, Images | None]:
    """Of data with pairs, translated test images against the true ones.

    And the partners of the most similar training images.
    """
    tested = _pairs(data.test, source, target)
    if tested is None:
        return {}, None
    given, true = (part.evenly(most) for part in tested)
    others = {"": translated_images(model, given, target)[0], "_copy": given}
    known = _pairs(data.train, source, target)
    if known is not None:
        others["_nearest"] = known[1][nearest_images(rows_of(given), known[0])[1]]
    result: Result = {"pairs": len(given)}
    for ending, images in others.items():
        for name, values in _compared(true, images):
            result |= mean_with_interval(f"{name}{ending}", values)
    return result, others.get("_nearest")


def _pairs(images: Images, source: int, target: int) -> tuple[Images, Images] | None:
    """The images of two domains that show the same things, in the same order, if there are any."""
    if images.things is None or images.labels is None:
        return None
    rows = [np.flatnonzero(images.labels == domain) for domain in (source, target)]
    shown = [np.unique(images.things[row], return_index=True) for row in rows]
    _, first, second = np.intersect1d(shown[0][0], shown[1][0], return_indices=True)
    if not len(first):
        return None
    return images[rows[0][shown[0][1][first]]], images[rows[1][shown[1][1][second]]]


def _compared(true: Images, images: Images) -> Iterator[tuple[str, NDArray[Any]]]:
    measures = {"psnr_db": psnr_db} | ({"ssim": ssim} if min(true.shape[1:]) >= WINDOW else {})
    values: dict[str, list[NDArray[Any]]] = {name: [] for name in measures}
    for (x, _), (y, _) in zip(*(in_order(each, CPU) for each in (true, images)), strict=True):
        for name, measure in measures.items():
            values[name].append(measure(x, y).numpy())
    yield from ((name, np.concatenate(parts)) for name, parts in values.items())
