"""A trained model, a score and its calibration: what answers whether an image belongs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.checkpoint import hash_of_tensors, load_checkpoint, save_checkpoint
from anogen.data.columns import Columns
from anogen.data.images import Images
from anogen.data.pictures import Pictures
from anogen.data.sources import Given, images_of
from anogen.data.splits import Splits, expect
from anogen.detection.calibration import Calibration, discoveries, refuse_nan
from anogen.detection.drift import example_statistics
from anogen.detection.fitting import fitted_images, unfitted_images, warn_of_difference
from anogen.detection.refresh import approved, keep_approved, with_approved
from anogen.detection.scores import (
    CHEAP,
    FUSED,
    SCORES,
    available,
    fit_scores,
    score_images,
    score_prepared,
    usual_score,
)
from anogen.detection.scores.fused import statistics
from anogen.detection.scores.surprises import out_of_fold
from anogen.detection.view import Prepared, State, exactly, views
from anogen.device import choose_device, is_starved
from anogen.errors import AnogenError, MachineError, UsageError, first_line, unknown_name
from anogen.models import rebuild
from anogen.models.base import Model, refuse_no_model
from anogen.progress import say
from anogen.run import Run
from anogen.training.state import describe

if TYPE_CHECKING:
    from anogen.detection.reasons import Reason

FORMAT = 2
"""Of a detector's folder, and of what its scores have learnt."""
DEFINITIONS = 3
"""Of the scores: raised whenever the definition of one of them changes, so that what
was measured with the old ones is measured again."""

MOST_SEEN = 2000
"""Calibration examples whose statistics are kept."""


class StaleDetectorError(MachineError):
    """A saved detector does not belong to this model, or to this version of anogen."""


@dataclass(frozen=True)
class Detector:
    """Detects out-of-distribution images, at a false-positive rate that you choose.

    The score is one of `SCORES`; `fused` is the density of all cheap ones that the model can give,
    learnt on training images; those that begin with `local` or `patch` look at places, for small
    defects. Calibration is on validation images, which training has not seen.
    Nothing out of distribution is needed, and none is used.

    Attributes:
        model: in evaluation mode.
        name: of the score.
        state: what the score has learnt; empty for one that learns nothing.
        calibration: scores of the validation images.
        device: where scores are computed.
        companions: other models, for scores that compare with them.
        source: the folder from which it was loaded.
        pictures: how picture files are read that are given by their paths.
        columns: of a table, how its rows become numbers.
        baseline: statistics of calibration examples, name → float64 `[n]`, with which a watch
            compares those of new ones; see `anogen.detection.drift`.

    Examples:
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

    model: Model
    name: str
    state: State
    calibration: Calibration
    device: torch.device
    companions: Sequence[Model] = field(default=())
    source: Path | None = None
    pictures: Pictures = field(default_factory=Pictures)
    columns: Columns | None = None
    baseline: Mapping[str, NDArray[np.float64]] = field(
        default_factory=dict[str, NDArray[np.float64]], repr=False
    )

    @classmethod
    def fit(
        cls,
        model: Model,
        data: Splits,
        score: str | None = None,
        device: str = "auto",
        companions: Sequence[Model] = (),
    ) -> "Detector":
        """Fit what the score needs on training images, and calibrate on validation images.

        Args:
            model: trained on `data.train`.
            data: in-distribution images; `test` is not touched. Where `validation` is `train`
                itself, the fused scores of tables are calibrated by cross-fitting, all others on
                what they have learnt from.
            score: a name in `SCORES`; default: `usual_score`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            companions: other models, for scores that compare: for `likelihood_ratio` one that was
                trained on the same data with noise, for `waic` others of an ensemble.

        Raises:
            UsageError: an unknown score, one that the model cannot give (the message has those that
                it can), or images of another shape than the model's.
        """
        refuse_no_model(model, "Detector.fit")
        return cls.fit_all(model, data, [score or usual_score(model.shape)], device, companions)[0]

    @classmethod
    def fit_all(
        cls,
        model: Model,
        data: Splits,
        scores: Sequence[str],
        device: str = "auto",
        companions: Sequence[Model] = (),
    ) -> "list[Detector]":
        """A detector for each score, as `fit`, from one pass over the images."""
        refuse_no_model(model, "Detector.fit")
        expect(data, Splits, "Detector.fit")
        for score in scores:
            refuse_unfit(model, score, companions)
        target = choose_device(device)
        states = fit_scores(model, fitted_images(data), scores, target)

        def scored(images: Images, names: Sequence[str]) -> NDArray[np.float64]:
            return score_images(model, images, names, target, states, companions)

        if data.validation is data.train:  # what is cross-fitted needs no rows of their own
            own = [out_of_fold(states.get(score, {})) for score in scores]
            rest = [score for score, values in zip(scores, own, strict=True) if values is None]
            others = iter(scored(data.validation, rest).T if rest else ())
            held_out = [next(others) if values is None else values.numpy() for values in own]
        else:
            held_out = list(scored(data.validation, scores).T)
            unseen = unfitted_images(data)
            if unseen is not None:
                training_scores = scored(unseen, scores[:1])[:, 0]
                warn_of_difference(training_scores, held_out[0], data.validation.name)
        baseline = example_statistics(data.validation.evenly(MOST_SEEN), data.columns)
        return [
            cls(model.eval(), score, states.get(score, {}), Calibration.of(values), target,
                tuple(companions), baseline=baseline)
            for score, values in zip(scores, held_out, strict=True)
        ]  # fmt: skip

    def __repr__(self) -> str:
        """Score, model and calibration, not their numbers."""
        kind, count = type(self.model).__name__, len(self.calibration.scores)
        return f"<detector {self.name!r} of a {kind}, calibrated on {count} images>"

    def __getstate__(self) -> dict[str, Any]:
        """Without what is prepared, which is made again, and in bfloat16 cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "prepared"}

    @cached_property
    def prepared(self) -> Prepared:
        """The models as scores use them, made when they are first needed."""
        return Prepared.of(self.model, self.device, self.companions)

    def score(self, images: Given) -> NDArray[np.float64]:
        """Scores, higher meaning further out; the same image always has the same score.

        Args:
            images: `Images`; an array or a tensor as `anogen.images_from_array` takes it; or the
                path, or several paths, of pictures, folders and array files. Pictures are read as
                those were that the run learnt from, and in one size by `pictures`. Of a run of a
                table: a frame, or the path of a CSV, TSV or parquet file.

        Returns:
            float64 `[n]`; of a folder in the order of the files' names.

        Raises:
            DataError: a file cannot be read, or an image has another shape than the model's.
        """
        parts = images_of(images, self.model.shape, self.pictures, "Detector.score",
                          self.columns)  # fmt: skip
        return np.concatenate([self._score(part) for part in parts])

    def explain(self, rows: Given, most: int = 3) -> "list[list[Reason]]":
        """Of a run of a table: the columns to which rows owe most of their scores.

        Args:
            rows: a frame, or the path of a table.
            most: reasons for each row; see `anogen.detection.reasons.reasons`.

        Raises:
            UsageError: the detector is not of a run of a table.
        """
        from anogen.detection.reasons import reasons_of

        if self.columns is None:
            raise UsageError("a run of images has no columns; anogen.explain explains images")
        return reasons_of(self, self.columns, rows, most)

    def map(self, images: Given) -> NDArray[np.float64]:
        """What each pixel adds to the score, or how unusual its place is: float64 `[n, h, w]`.

        Summed over channels. Of a score that looks at places, the score is the mean of the largest
        hundredth of its cells, so that the map says where.

        Args:
            images: as for `score`.

        Raises:
            UsageError: the score has no map.
        """
        score = SCORES[self.name]
        if score.map is None:
            having = ", ".join(name for name, score in SCORES.items() if score.map)
            raise UsageError(f"the score {self.name} has no map; choose {having}")
        maps: list[NDArray[np.float64]] = []
        with torch.no_grad(), exactly():
            for part in images_of(images, self.model.shape, self.pictures, "Detector.map"):
                for view, count in views(self.prepared, part):
                    seen = score.map_of(view, self.state)[:count]
                    maps.append(seen.double().sum(1).cpu().numpy())
        return np.concatenate(maps)

    def _score(self, images: Images) -> NDArray[np.float64]:
        try:
            return score_prepared(self.prepared, images, [self.name], {self.name: self.state})[:, 0]
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            if self.source is None or isinstance(error, AnogenError):
                raise
            raise MachineError(
                f"{self.source}: damaged ({first_line(error)}); remove it, and it is made again"
            ) from error

    def p_value(self, images: Given) -> NDArray[np.float64]:
        """Conformal p-values, float64 `[n]` in (0, 1]; small means out."""
        return self.calibration.p_value(self.score(images))

    def predict(self, images: Given, false_positive_rate: float = 0.01) -> NDArray[np.int64]:
        """1 for out, 0 for in: int64 `[n]`; of images that belong, this share is flagged.

        Raises:
            UsageError: a rate that the calibration cannot support.
        """
        threshold = self.calibration.threshold(false_positive_rate)
        return (refuse_nan(self.score(images)) > threshold).astype(np.int64)

    def discover(self, images: Given, false_discovery_rate: float = 0.1) -> NDArray[np.bool_]:
        """Which images of a batch to flag so that this share of the flags is expected false."""
        return discoveries(self.p_value(images), false_discovery_rate)

    def save(self, folder: str | Path) -> None:
        """Write score, state, calibration and companions, without the model, into a folder."""
        tensors: dict[str, Mapping[str, Tensor]] = {
            "calibration": {"scores": torch.from_numpy(self.calibration.scores)}
        }
        if self.baseline:
            tensors["baseline"] = {
                name: torch.from_numpy(values) for name, values in self.baseline.items()
            }
        if self.state:
            tensors["state"] = self.state
        for index, companion in enumerate(self.companions):
            tensors[f"companion_{index}"] = companion.state_dict()
        state = {
            "format": FORMAT,
            "score": self.name,
            "statistics": statistics(self.model) if self.name == FUSED else [],
            "weights_sha256": self.weights_sha256,
            "companions": [describe(companion) for companion in self.companions],
        }
        save_checkpoint(Path(folder), tensors, state)

    @property
    def weights_sha256(self) -> str:
        """Hash of the model's weights: a calibration is for these alone."""
        return hash_of_tensors(self.model.state_dict())

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: Model,
        device: str = "auto",
        *,
        allow_code: bool = False,
    ) -> "Detector":
        """What `save` wrote, with the model that it was fitted for.

        Args:
            folder: of the detector.
            model: as it was then.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            allow_code: for companions that are not anogen's own models; as in `Run.load_model`.

        Raises:
            UsageError: the model cannot give the score, or a companion's class may not be imported.
            StaleDetectorError: it was calibrated for other weights, or by another version.
            MachineError: there is none, or it is damaged.
        """
        tensors, state = load_checkpoint(Path(folder))
        if state.get("format") != FORMAT:
            raise StaleDetectorError(f"{folder}: of another version of anogen; calibrate again")
        try:
            detector = cls._of(tensors, state, model, choose_device(device), allow_code)
            detector = replace(detector, source=Path(folder))
        except AnogenError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_starved(error):
                raise
            raise MachineError(
                f"{folder}: damaged ({first_line(error)}); remove it, and it is made again"
            ) from error
        if detector.weights_sha256 != state["weights_sha256"]:
            raise StaleDetectorError(f"{folder}: calibrated for other weights; calibrate again")
        if detector.name == FUSED and state["statistics"] != statistics(model):
            raise StaleDetectorError(f"{folder}: made of other statistics; calibrate again")
        return detector

    @classmethod
    def _of(
        cls,
        tensors: Mapping[str, State],
        state: Mapping[str, Any],
        model: Model,
        device: torch.device,
        allow_code: bool,
    ) -> "Detector":
        companions = [
            rebuild(companion, tensors[f"companion_{index}"], allow_code)
            for index, companion in enumerate(state["companions"])
        ]
        refuse_unfit(model, str(state["score"]), companions)
        if not isinstance(state["statistics"], list) or "weights_sha256" not in state:
            raise TypeError("a detector names its statistics and its weights")
        scores = tensors["calibration"]["scores"].double().numpy()
        if scores.ndim != 1:
            raise ValueError(f"calibration scores of shape {scores.shape}")
        calibration = Calibration.of(scores)
        learnt, seen = tensors.get("state", {}), tensors.get("baseline", {})
        baseline = {name: values.double().numpy() for name, values in seen.items()}
        return cls(model.eval(), state["score"], learnt, calibration, device, companions,
                   baseline=baseline)  # fmt: skip

    @classmethod
    def of_run(
        cls,
        run: Run,
        score: str | None = None,
        *,
        model: Model | None = None,
        data: Splits | None = None,
        checkpoint: str | None = None,
        companions: Sequence[Model] = (),
        data_dir: str | Path | None = None,
        device: str = "auto",
        allow_code: bool = False,
        approving: Images | None = None,
    ) -> "Detector":
        """A run's own detector from its folder; made and kept there where there is none that fits.

        With it those are made and kept whose scores cost little and learn nothing, so that they
        need no training data later. In a folder that cannot be written it is made each time.

        Args:
            run: a trained one.
            score: a name in `SCORES`; default: `usual_score`.
            model: the run's, where it is loaded already.
            data: the run's, for the calibration, where it came from arrays in memory.
            checkpoint: `best` or `last`; default: the best one where there is one.
            companions: other models, for the scores that need them; then it is always recalibrated.
            data_dir: where data sets lie, for the calibration.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            allow_code: as in `Run.load_model`.
            approving: all examples that are approved as good, with new ones among them, as
                `anogen.detection.refresh.with_more` gives them: the detector is made again with
                them, they are kept with the run, and its other detectors are removed.

        Raises:
            UsageError: the model cannot give the score.
            DataError: it must be calibrated and the run's data is not there.
        """
        if score is not None:
            refuse_unknown(score)
        model = run.load_model(checkpoint, allow_code=allow_code) if model is None else model
        score = score or usual_score(model.shape)
        folder = run.detector(score)
        if folder.exists() and not companions and approving is None:
            try:
                kept = cls.load(folder, model, device, allow_code=allow_code)
                kept = replace(kept, pictures=run.pictures, columns=run.columns)
                if kept.name != score:
                    raise MachineError(
                        f"{folder}: damaged, it has the score {kept.name}; remove it, and it is "
                        "made again"
                    )
                return kept
            except StaleDetectorError as error:
                say(str(error))
        refuse_unfit(model, score, companions)
        say(f"calibrating {score} on the validation data of {run.path}")
        names = [score, *([] if companions else _beside(model, run))]
        if data is None:
            data = run.load_data(data_dir)
        else:
            expect(data, Splits, "Detector.of_run")
            run.check_data(data)
        data = with_approved(data, approved(run) if approving is None else approving)
        fitted = cls.fit_all(model, data, list(dict.fromkeys(names)), device, companions)
        try:
            if approving is not None:
                keep_approved(run, approving)
                run.forget_detectors(but=score)
            for detector in fitted:
                detector.save(run.detector(detector.name))
        except MachineError as error:
            say(f"the detector is not kept, and will be calibrated again next time: {error}")
        return replace(fitted[0], pictures=run.pictures, columns=run.columns)


def _beside(model: Model, run: Run) -> list[str]:
    """Scores of few passes that learn nothing and for which the run keeps no detector yet."""
    return [
        name
        for name in available(model)
        if SCORES[name].fit is None
        and SCORES[name].passes <= CHEAP
        and not run.detector(name).exists()
    ]


def refuse_unknown(score: str) -> None:
    """Raise a `UsageError` if there is no such score."""
    given: Any = score
    if not isinstance(given, str) or score not in SCORES:
        raise unknown_name("score", str(score), SCORES)


def refuse_unfit(model: Model, score: str, companions: Sequence[Model] = ()) -> None:
    """Raise a `UsageError` if there is no such score, or the models cannot give it."""
    refuse_unknown(score)
    if not SCORES[score].fits(model):
        raise UsageError(
            f"{type(model).__name__} cannot give the score {score}; it has "
            f"{', '.join(available(model, companions))}"
        )
    if len(companions) < SCORES[score].companions:
        raise UsageError(
            f"the score {score} compares with another model; give companions (on the command line "
            "--companion RUN)"
        )
    for companion in companions:
        if not SCORES["negative_elbo"].fits(companion) or companion.shape != model.shape:
            raise UsageError(
                f"a companion must have a likelihood for images of {model.shape}; found "
                f"{type(companion).__name__} for {companion.shape}"
            )
    if any(each.condition.size for each in (model, *companions)):
        raise UsageError(
            "a conditional model needs a label or a text for every image, which new images do not "
            "have; train with classes 0 and text 0 for detection"
        )
