"""A trained run as it is served: loaded once, never changed, replaced as a whole."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.checkpoint import MANIFEST
from anogen.data.batches import to_bytes
from anogen.data.columns import Columns, Encoded
from anogen.data.images import Images, is_table
from anogen.data.text import MOST_LETTERS
from anogen.detection.calibration import Calibration, allowed, promised
from anogen.detection.detector import Detector
from anogen.detection.drift import example_statistics
from anogen.detection.explain import explain
from anogen.detection.loading import Trained, load
from anogen.detection.reasons import reasons
from anogen.detection.scores import SCORES, usual_score
from anogen.device import own_randomness
from anogen.errors import AnogenError, DataError, UsageError, unknown_name
from anogen.models.base import GenerativeModel, Model, generative
from anogen.models.restorer import Restorer
from anogen.models.sampling import own_sampler
from anogen.models.translator import Translator
from anogen.progress import say, silence
from anogen.run import Run
from anogen.serving.png import png
from anogen.serving.settings import Settings
from anogen.translation.translate import Domains

Pixels = NDArray[Any]
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""For which the page says what is promised."""
NO_SCORES = "it is served without scores, being conditional on labels or texts, or made to restore"
SLIDERS = 12
"""Latents of a model that the page has sliders for, at most."""


class Scores(NamedTuple):
    """Scores of the images of a request, float64 `[n]`, and their statistics by name, likewise."""

    values: NDArray[np.float64]
    statistics: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Served:
    """A run, its detector and what a client may know of it.

    Attributes:
        name: by which requests ask for it: the folder's.
        version: changes whenever weights or calibration do.
        trained: the run.
        detector: with the score that is served; None for a model that cannot detect, such as one
            that needs a label for every image, or only restores.
        rate: of false positives, by which labels are given where a request names none.
        settings: of the service.
    """

    name: str
    version: str
    trained: Trained
    detector: Detector | None
    rate: float
    settings: Settings
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(
        cls, path: str | Path, settings: Settings, score: str | None = None,
        data_dir: str | Path | None = None, device: str = "auto",
    ) -> "Served":  # fmt: skip
        """A run's usual detector, or that of a score; calibrated first where there is none yet.

        Raises:
            UsageError: there is no such run, the model cannot give the score, or the rate cannot be
                promised.
            MachineError: it is damaged.
        """
        run = Run.open(path)
        shape = tuple(run.environment["data"]["shape"])
        version = version_of(run, score or usual_score(shape))
        trained = load(path, data_dir=data_dir, device=device)
        detector = None
        rate = settings.fpr or run.false_positive_rate
        if detects(trained.model):
            name = score or usual_score(trained.model.shape)
            detector = trained.detectors[name]
            with silence():
                count = len(detector.calibration.scores)
                rate = promised(settings.fpr, run.false_positive_rate, count)
                allowed(rate, count)
            version = version_of(run, name)  # it may have been calibrated just now
        elif score is not None:
            raise UsageError(f"{path}: {NO_SCORES}")
        return cls(run.path.name, version, trained, detector, rate, settings)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the images, or of a table's rows."""
        return self.trained.model.shape

    @property
    def columns(self) -> Columns | None:
        """Of a run of a table."""
        return self.trained.run.columns if self.detector is None else self.detector.columns

    @property
    def needed(self) -> Detector:
        """The detector.

        Raises:
            UsageError: there is none.
        """
        if self.detector is None:
            raise UsageError(f"{self.name}: {NO_SCORES}")
        return self.detector

    @property
    def calibration(self) -> Calibration:
        """Of the detector."""
        return self.needed.calibration

    def warm(self, afresh: bool = False) -> None:
        """Compute once what is computed at first use, so that no request waits for it.

        Args:
            afresh: ask again which small views give the bits of a whole one, because another number
                of threads computes than before.
        """
        if self.detector is not None:
            if afresh:
                self.detector.prepared.sizes.clear()
            blank = np.zeros((1, *self.shape), self._dtype)
            with silence():
                self.detector.score(Images(blank, "blank"))

    @property
    def _dtype(self) -> type:
        return np.float32 if is_table(self.shape) else np.uint8

    def scores(self, parts: Sequence[Pixels]) -> list[Scores]:
        """The scores of images of several requests, computed together, with what a watch sees."""
        images = Images(parts[0] if len(parts) == 1 else np.concatenate(parts), "request")
        scores, seen = self.needed.score(images), example_statistics(images, self.columns)
        ends = np.cumsum([len(part) for part in parts])
        return [
            Scores(scores[end - len(part) : end],
                   {name: values[end - len(part) : end] for name, values in seen.items()})
            for part, end in zip(parts, ends, strict=True)
        ]  # fmt: skip

    def rate_of(self, asked: float | None) -> float:
        """The rate that a request asks for, if it can be promised.

        Raises:
            UsageError: it cannot.
        """
        if asked is None:
            return self.rate
        allowed(asked, len(self.calibration.scores))
        return asked

    def reasons(self, encoded: Encoded, places: Sequence[int]) -> list[list[str]]:
        """Of rows of a table: why each has its score, in words."""
        columns = self.columns
        assert columns is not None
        rows = columns.images(encoded.rows[list(places)])
        cells = [encoded.cells(place) for place in places]
        found = reasons(self.needed, rows, columns, cells=cells)
        return [[reason.text for reason in row] for row in found]

    def explained(self, pixels: Pixels, nearest: int) -> list[dict[str, Any]]:
        """Of pictures: a map of what stands out, and the most similar training pictures."""
        detector = self.needed
        images = Images(pixels, "request")
        training = self.training if nearest else None
        found = explain(detector, images, training, nearest)
        maps = detector.map(images) if SCORES[detector.name].map is not None else None
        if maps is None and found.map is not None:
            maps = found.map.sum(1)
        looks_at_places = SCORES[detector.name].map is not None and not SCORES[detector.name].sums
        least = detector.calibration.threshold(self.rate) if looks_at_places else 0.0
        told: list[dict[str, Any]] = []
        for index in range(len(pixels)):
            one: dict[str, Any] = {}
            if maps is not None:
                high = float(maps[index].max())
                white = max(high, least)
                shown = np.clip(maps[index], 0, None) / max(white, 1e-12)
                one["map"] = {
                    "png": png(np.rint(255 * shown).astype(np.uint8)[None]), "highest": high,
                    "white": white,
                    "of": detector.name if SCORES[detector.name].map else "squared_error",
                }  # fmt: skip
            if training is not None:
                one["nearest"] = [
                    {"png": png(np.array(training.pixels[row : row + 1])[0]), "squared_error": far}
                    for row, far in zip(
                        found.nearest[index].tolist(), found.distances[index].tolist(), strict=True
                    )
                ]
            told.append(one)
        return told

    @cached_property
    def _training(self) -> Images | None:
        try:
            with silence():
                splits = self.trained.run.load_data(self.trained.detectors.data_dir)
        except AnogenError as error:
            say(f"{self.name}: the nearest training examples are not shown: {error}")
            return None
        return splits.train.evenly(self.settings.training_examples)

    @property
    def training(self) -> Images | None:
        """Training images to look for the nearest in; None where they are no longer there."""
        with self._lock:
            return self._training

    def latents(self, count: int, seed: int, condition: torch.Tensor | None) -> NDArray[np.float32]:
        """Latents from where the training images lie: float32 `[count, latent]`."""
        generator = torch.Generator().manual_seed(seed)
        sampler = own_sampler(self._generative)
        return sampler.latents(count, generator, _repeated(condition, count)).numpy()

    def decoded(
        self,
        latents: NDArray[np.float32],
        seed: int,
        condition: torch.Tensor | None,
        guidance: float = 1.0,
    ) -> NDArray[np.uint8]:
        """The images of latents: uint8 `[n, c, h, w]`, the same for the same seed.

        Args:
            latents: float32 `[n, latent]`.
            seed: of whatever else is drawn.
            condition: that of all, `[1]` or `[1, length]`; None: drawn.
            guidance: see `GenerativeModel.sample`.
        """
        model = self._generative
        generator = torch.Generator().manual_seed(seed)
        condition = _repeated(condition, len(latents))
        if condition is None:
            condition = model.condition.random(len(latents), generator)
        with torch.no_grad(), own_randomness():
            if guidance != 1:
                condition = model.condition.guided(condition, guidance)
            return to_bytes(model.decode_sample(torch.from_numpy(latents), generator, condition))

    @property
    def latent(self) -> int:
        """Length of the latent vectors; 0 where there are none."""
        model = self.trained.model
        return model.latent if isinstance(model, GenerativeModel) else 0

    @property
    def _generative(self) -> GenerativeModel:
        return generative(self.trained.model, self.name)

    @property
    def restores(self) -> bool:
        """Whether damaged pictures can be restored, in one pass."""
        model = self.trained.model
        restorer = isinstance(model, Restorer) or (
            model.damage is not None and not model.condition.size
        )
        return restorer and not is_table(self.shape)

    @property
    def translates(self) -> list[str]:
        """The domains to which pictures can be translated; none of other models."""
        model = self.trained.model
        return list(self.domains.names) if isinstance(model, Translator) else []

    @property
    def domains(self) -> Domains:
        """The translator.

        Raises:
            UsageError: it is none.
        """
        named = self.trained.run.environment["data"].get("classes") or ()
        return Domains.of(self.trained.model, named)

    @property
    def samples(self) -> bool:
        """Whether new pictures can be drawn."""
        return isinstance(self.trained.model, GenerativeModel) and not is_table(self.shape)

    def condition_of(self, label: Any, text: Any) -> torch.Tensor | None:
        """What a client asks to see, `[1]` or `[1, length]`; None where it asks for nothing.

        Raises:
            UsageError: there is no label of that name, or the model takes no labels, or no texts.
        """
        if text is not None:
            if label is not None:
                raise UsageError("a model is conditional on labels or on texts, not on both")
            if not self.trained.model.takes_text:
                raise UsageError(f"{self.name} takes no texts")
            if not isinstance(text, str) or len(text) > MOST_LETTERS:
                raise UsageError(f"text is a text of at most {MOST_LETTERS:,} letters")
            return self.trained.model.asked([text])
        number = self._label_of(label)
        return None if number is None else torch.tensor([number])

    def _label_of(self, name: Any) -> int | None:
        """The number of a label, by its name."""
        model = self.trained.model
        if not model.classes:
            if name is not None:
                raise UsageError(f"{self.name} is not conditional on labels")
            return None
        named = self.trained.run.environment["data"].get("classes") or []
        classes = (named or [str(number) for number in range(model.classes)])[: model.classes]
        if name is None:
            return None
        if str(name) not in classes:
            raise unknown_name("label", str(name), classes)
        return classes.index(str(name))

    @cached_property
    def card(self) -> dict[str, Any]:
        """What a client may know: where it comes from, what it takes, what it promises."""
        run, model = self.trained.run, self.trained.model
        environment, config = run.environment, run.config
        about: dict[str, Any] = {
            "name": self.name, "version": self.version, "model": type(model).__name__,
            "kind": "table" if is_table(self.shape) else "pictures", "shape": list(self.shape),
            "data": environment["data"]["name"], "epochs": config["epochs"],
            "latent": self.latent, "sliders": min(SLIDERS, self.latent) if self.samples else 0,
            "restores": self.restores, "any_size": isinstance(model, Restorer),
            "translates": self.translates, "texts": model.takes_text,
            "labels": environment["data"].get("classes", [])[: model.classes],
        }  # fmt: skip
        columns = self.columns
        if columns is not None:
            about["columns"] = [
                {"name": column.name, "kind": column.kind}
                for column in columns.columns if column.kind != "ignored"
            ]  # fmt: skip
        if self.detector is not None:
            about |= self._promises(self.detector)
        return about

    def _promises(self, detector: Detector) -> dict[str, Any]:
        calibration = detector.calibration
        count = len(calibration.scores)
        rates = sorted({rate for rate in (*RATES, self.rate) if rate * (count + 1) >= 1 - 1e-9})
        return {
            "score": detector.name, "unit": SCORES[detector.name].unit,
            "source": SCORES[detector.name].source, "calibrated_on": count,
            "false_positive_rate": self.rate,
            "threshold": calibration.threshold(self.rate),
            "promises": [
                {"rate": rate, "threshold": calibration.threshold(rate),
                 **dict(zip(("low", "high"), calibration.false_positive_interval(rate),
                            strict=True))}
                for rate in rates
            ],
        }  # fmt: skip


def _repeated(condition: torch.Tensor | None, count: int) -> torch.Tensor | None:
    return None if condition is None else condition.expand(count, *condition.shape[1:])


def detects(model: Model) -> bool:
    """Whether a service gives scores of a model: not of one that is served to restore, nor of one
    that needs a label or a text for each image.
    """
    return isinstance(model, GenerativeModel) and not model.condition.size


def manifests(run: Run, score: str | None) -> list[Path]:
    """The files that change when what is served should: the weights' and the calibration's."""
    which = run.chosen(None)
    paths = [run.checkpoint(which) / MANIFEST]
    return paths if score is None else [*paths, run.detector(score) / MANIFEST]


def version_of(run: Run, score: str | None) -> str:
    """A short hash of the manifests, which name the hashes of all that is served."""
    digest = sha256()
    for path in manifests(run, score):
        try:
            digest.update(path.read_bytes())
        except OSError:
            digest.update(b"-")
    return digest.hexdigest()[:12]


def open_all(
    paths: Sequence[str | Path], settings: Settings, score: str | None = None,
    data_dir: str | Path | None = None, device: str = "auto",
) -> dict[str, Served]:  # fmt: skip
    """Several runs by their names.

    Raises:
        UsageError: two have one name, or what `Served.open` refuses.
        DataError: a detector must be calibrated, and the run's data is not there.
    """
    served: dict[str, Served] = {}
    for path in paths:
        one = Served.open(path, settings, score, data_dir, device)
        if one.name in served:
            raise UsageError(f"two runs are called {one.name}; rename one folder")
        served[one.name] = one
    if not served:
        raise DataError("there is no run to serve")
    return served
