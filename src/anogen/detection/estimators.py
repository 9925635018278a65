"""scikit-learn's (+1/−1) and PyOD's (0/1) wrappers of the detector, for images and tables."""

import tempfile
from pathlib import Path
from signal import SIGINT
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from scipy.stats import binom
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from anogen.data.images import Images, images_from_array, refuse_masked
from anogen.data.splits import Splits
from anogen.data.tables import Scaling
from anogen.detection.calibration import allowed, refuse_nan
from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.export import export_onnx
from anogen.detection.scores import FUSED, SCORES
from anogen.detection.view import is_table
from anogen.device import memory_advice, own_randomness
from anogen.errors import (
    DivergenceError,
    Interrupted,
    UsageError,
    finite_number,
    whole_number,
)
from anogen.models import find_model
from anogen.models.base import GenerativeModel
from anogen.progress import silence
from anogen.training.fit import fit

MIN_TRAINING = 10
"""With fewer rows left for training, calibration is on the training rows themselves."""
TABLE_DEFAULT = "row_neighbours"
"""The default score of tables. Training rows often have among them what shall be found; a net
learns those rows too, and then calls them normal. See docs/guides/tables.md."""


class _Estimator(BaseEstimator):
    """What both wrappers share: arrays in, a trained and calibrated `Detector` inside."""

    def __init__(
        self,
        model: str | type[GenerativeModel] = "VAE",
        *,
        score_name: str | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        held_out: float = 0.2,
        options: dict[str, Any] | None = None,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.score_name = score_name
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.held_out = held_out
        self.options = options
        self.random_state = random_state
        self.device = device

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "detector_")

    @property
    def model_(self) -> GenerativeModel:
        """The fitted model."""
        check_is_fitted(self)
        return self.detector_.model

    def export(
        self,
        path: str | Path,
        X: Any,  # noqa: N803
        false_positive_rate: float | None = None,
    ) -> float:
        """Write the fitted detector as one ONNX graph; see `anogen.detection.export.export_onnx`.

        Of a table the graph takes `rows`, float64 `[n, columns]`, as `predict` does.

        Args:
            path: a name ending in `.onnx`.
            X: rows or images on which the graph must give the same scores.
            false_positive_rate: by which labels are given; default: the estimator's own.
        """
        check_is_fitted(self)
        rate = self._rate if false_positive_rate is None else false_positive_rate
        images = self._images(X, new=False)
        scaling = None if self._pictures else Scaling(self.centre_, self.spread_)
        with silence():
            return export_onnx(self.detector_, path, images, rate, scaling=scaling)

    _rate_name: ClassVar[str]
    """The parameter that says which share of rows that belong may be called out."""

    @property
    def _rate(self) -> float:
        return getattr(self, self._rate_name)

    def _fit(self, x: Any) -> Self:
        """Fit a new estimator of these parameters, and take over all of it at once.

        So a fit that is refused or interrupted leaves the estimator as it was, and nothing of an
        earlier fit stays after one that succeeds.
        """
        fresh = type(self)(**self.get_params(deep=False))
        fresh._train(x, self._rate)
        fresh._after_training(x)
        own = {key: value for key, value in vars(self).items() if not _is_fitted_name(key)}
        self.__dict__ = {**own, **vars(fresh)}
        return self

    def _after_training(self, x: Any) -> None:
        """Set what depends on the fitted detector."""

    def _train(self, x: Any, rate: float) -> None:
        """Fit model, score and calibration, so that a false-positive rate can be supported."""
        rate, held_out_share = self._checked_rates(rate)
        epochs = whole_number("epochs", self.epochs)
        if epochs < 1:
            raise UsageError(f"epochs must be positive, found {epochs}")
        batch_size = whole_number("batch_size", self.batch_size)
        given: Any = self.options or {}
        if not isinstance(given, dict):
            raise UsageError(f"options must be a dict of the model's arguments, found {given!r}")
        images = self._images(x, new=True)
        random = check_random_state(self.random_state)
        order = random.permutation(len(images))
        needed = max(round(held_out_share * len(order)), int(np.ceil(1 / rate)))
        if len(order) - needed >= MIN_TRAINING:
            held_out, rest = order[:needed], order[needed:]
        else:
            held_out = rest = order
        allowed(rate, len(held_out))
        known = images[np.sort(rest)]
        data = Splits(known, images[np.sort(held_out)], known)
        seed = int(random.randint(2**31 - 1))
        kind = self.model if isinstance(self.model, type) else find_model(str(self.model))
        score = self._score_for(kind, is_table(images.shape))
        with own_randomness(), tempfile.TemporaryDirectory() as folder, silence():
            torch.manual_seed(seed)
            with memory_advice("choose a smaller model with options"):
                model = kind(images.shape, **given)
            refuse_unfit(model, score)
            if _needs_training(score):
                self._train_model(model, data, Path(folder) / "run", epochs, batch_size, seed)
            model.requires_grad_(False)
            self.detector_ = Detector.fit(model, data, score, self.device)

    def _checked_rates(self, rate: Any) -> tuple[float, float]:
        name = self._rate_name
        rate, held_out = finite_number(name, rate), finite_number("held_out", self.held_out)
        if not 0 < rate <= 0.5:
            raise UsageError(f"{name} must lie in (0, 0.5], found {rate}")
        if not 0 < held_out < 1:
            raise UsageError(f"held_out must lie in (0, 1), found {held_out}")
        return rate, held_out

    def _score_for(self, kind: type[GenerativeModel], table: bool) -> str:
        """The score that was asked for, or the default of images or of tables."""
        if self.score_name is not None:
            return self.score_name
        if not table:
            return FUSED
        if self.model != "VAE":  # somebody wants this very model, and the default needs none
            raise UsageError(
                f"{kind.__name__} has no default score on a table: the default there, "
                f"{TABLE_DEFAULT}, uses no model; choose a score_name, such as fused"
            )
        return TABLE_DEFAULT

    def _train_model(
        self,
        model: GenerativeModel,
        data: Splits,
        run: Path,
        epochs: int,
        batch_size: int,
        seed: int,
    ) -> None:
        try:
            fit(
                model, data, run, epochs=epochs, batch_size=batch_size,
                learning_rate=self.learning_rate, seed=seed, device=self.device,
            )  # fmt: skip
        except DivergenceError as error:  # without the folder, which is gone in a moment
            raise DivergenceError(error.what, "", error.advice) from None
        except Interrupted as stop:  # a grid search would take an error for a bad fit
            if stop.signal_number == SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(stop.exit_code) from None

    def _surprise(self, x: Any) -> NDArray[np.float64]:
        """Scores, higher meaning further out: float64 `[n]`."""
        check_is_fitted(self)
        with silence():
            return refuse_nan(self.detector_.score(self._images(x, new=False)))

    def _images(self, x: Any, *, new: bool) -> Images:
        """Rows of a table squashed to [0, 1], or images of any usual layout."""
        if isinstance(x, Images | Splits):
            raise UsageError(
                f"an estimator takes arrays; give the pixels of anogen.{type(x).__name__}, such as "
                "images.pixels, or use anogen.Detector"
            )
        if isinstance(x, list | tuple) and any(np.ndim(each) > 1 for each in x):
            raise UsageError(
                "found a list of images; give one array [n, h, w], such as numpy.stack(images)"
            )
        pictures = len(getattr(x, "shape", ())) > 2
        if not new and pictures != self._pictures:
            kinds = ("a table", "images")
            hint = ""
            if self._pictures and len(getattr(x, "shape", ())) == 2:
                hint = "; a single image is image[None]"
            raise UsageError(
                f"fitted on {kinds[self._pictures]}, now given {kinds[pictures]}{hint}"
            )
        if new:
            self._pictures = pictures
        if pictures:
            refuse_masked(x, "images")
            found = images_from_array(np.asarray(x), "images")
            if new:
                self.n_features_in_ = int(np.prod(found.shape))
            return found
        rows: Any = x
        refuse_masked(x, "the table")
        _refuse_dates(x)
        checked: Any = validate_data(
            self, rows, reset=new, dtype=np.float64, ensure_min_samples=2 if new else 1
        )
        if new:
            scaling = Scaling.of(checked)
            self.centre_, self.spread_ = scaling.centre, scaling.spread
        return Scaling(self.centre_, self.spread_).images(checked)


def _refuse_dates(x: Any) -> None:
    """Raise a `UsageError` for a column of dates, which are numbers in a unit that nobody sees."""
    given: Any = x
    kinds: list[Any] = (
        list(given.dtypes) if hasattr(given, "dtypes") else [getattr(x, "dtype", None)]
    )
    if any(getattr(kind, "kind", "") in ("M", "m") for kind in kinds):
        raise UsageError(
            "the table has dates or times; give numbers instead, such as seconds since a day"
        )


def _is_fitted_name(name: str) -> bool:
    """Whether an attribute is something that `fit` sets."""
    return name in ("_pictures", "_mu", "_sigma") or (
        name.endswith("_") and not name.startswith("_")
    )


def _needs_training(score: str) -> bool:
    """Whether a score uses a trained model."""
    return score == FUSED or bool(SCORES[score].needs)


class OutlierDetector(OutlierMixin, _Estimator):
    """A generative model as a scikit-learn outlier detector: +1 for in, −1 for out.

    `fit` trains a model on a part of the rows and calibrates it on the others, so that of new rows
    like these a share of about `false_positive_rate` is called out. Nothing is learnt from `y`.
    Tables are centred on their medians, scaled by their quartiles, so that a few huge values change
    nothing, and squashed into [0, 1] (`anogen.data.tables`); images are taken as they are.

    A fit that fails or is interrupted leaves the estimator as it was.

    Args:
        model: a name in `anogen.MODELS`, or a class of your own.
        false_positive_rate: share of rows that belong and may be called out.
        score_name: a name in `anogen.SCORES` that the model can give; default: `fused` for images,
            and for tables `row_neighbours`, the distance to the fifth nearest training row. That
            one needs no model, so that none is trained: training rows often have among them what
            shall be found, which a net learns with the rest.
        epochs: passes over the training rows.
        batch_size: rows per step.
        learning_rate: Adam's.
        held_out: share of the rows on which the score is calibrated; more where the rate needs
            more. With too few rows to hold any out, all are used for both, and the rate is then
            that of the training rows; one that they are too few for is refused.
        options: further arguments of the model, such as `{"latent": 8}`.
        random_state: of the split, the weights and the noise.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Attributes:
        detector_: the fitted `anogen.Detector`.
        offset_: what `decision_function` subtracts from `score_samples`.
        model_: its model.
        n_features_in_: columns of the table, or values of an image.

    Raises:
        UsageError: an argument of the wrong kind or out of its range, or a model that cannot give
            the score.
        TrainingError: a loss is not finite, or memory ran out.

    Examples:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> detector = OutlierDetector().fit(rows)
        >>> detector.predict(np.full((1, 4), 30.0)).tolist()
        [-1]
    """

    _rate_name = "false_positive_rate"

    def __init__(
        self,
        model: str | type[GenerativeModel] = "VAE",
        *,
        false_positive_rate: float = 0.1,
        score_name: str | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        held_out: float = 0.2,
        options: dict[str, Any] | None = None,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        super().__init__(
            model, score_name=score_name, epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, held_out=held_out, options=options,
            random_state=random_state, device=device,
        )  # fmt: skip
        self.false_positive_rate = false_positive_rate

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Train and calibrate on rows `[n, columns]` or images; `y` is not used."""
        return self._fit(X)

    def _after_training(self, x: Any) -> None:  # noqa: ARG002
        self.offset_ = -self.detector_.calibration.threshold(self.false_positive_rate)

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The score with its sign turned, float64 `[n]`: lower means further out."""
        return -self._surprise(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """`score_samples` above `offset_`, float64 `[n]`: negative means out."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """+1 for in, −1 for out: int64 `[n]`."""
        return np.where(self.decision_function(X) >= 0, 1, -1)


class PyODDetector(_Estimator):
    """A generative model with the interface of PyOD's detectors: 0 for in, 1 for out.

    As `OutlierDetector`, with PyOD's names. One difference from PyOD: `threshold_` is calibrated
    on held-out rows instead of being a percentile of the training scores, so that `contamination`
    is a rate that new rows of the same source keep to.

    Args:
        model: a name in `anogen.MODELS`, or a class of your own.
        contamination: share of rows like the training rows that is called out.
        score_name: as in `OutlierDetector`; likewise the other options.

    Attributes:
        decision_scores_: scores of the training rows, higher meaning further out, `[n]`.
        threshold_: rows above it are out.
        labels_: of the training rows, 0 or 1, `[n]`.
        detector_: the fitted `anogen.Detector`.

    Source: the interface is that of Zhao et al. 2019 (PyOD).

    Examples:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> detector = PyODDetector().fit(rows)
        >>> detector.predict(np.full((1, 4), 30.0)).tolist()
        [1]
    """

    _rate_name = "contamination"

    def __init__(
        self,
        model: str | type[GenerativeModel] = "VAE",
        *,
        contamination: float = 0.1,
        score_name: str | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        held_out: float = 0.2,
        options: dict[str, Any] | None = None,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        super().__init__(
            model, score_name=score_name, epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, held_out=held_out, options=options,
            random_state=random_state, device=device,
        )  # fmt: skip
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Train and calibrate on rows `[n, columns]` or images; `y` is not used."""
        return self._fit(X)

    def _after_training(self, x: Any) -> None:
        self.threshold_ = self.detector_.calibration.threshold(self.contamination)
        self.decision_scores_ = self._surprise(x)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        self._mu, self._sigma = self.decision_scores_.mean(), self.decision_scores_.std()

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Scores, higher meaning further out: float64 `[n]`."""
        return self._surprise(X)

    def predict(self, X: Any, return_confidence: bool = False) -> Any:  # noqa: N803
        """0 for in, 1 for out: int64 `[n]`; with confidences, float64 `[n]`, where asked for."""
        labels = (self.decision_function(X) > self.threshold_).astype(np.int64)
        return (labels, self.predict_confidence(X)) if return_confidence else labels

    def predict_proba(
        self,
        X: Any,  # noqa: N803
        method: str = "linear",
        return_confidence: bool = False,
    ) -> Any:
        """Probabilities of in and of out, float64 `[n, 2]`.

        Args:
            X: rows or images.
            method: `linear`: the score's place between the least and the greatest of the training
                scores; `unify`: by the error function (Kriegel et al. 2011).
            return_confidence: give confidences, float64 `[n]`, too.
        """
        scores = self.decision_function(X)
        if method == "linear":
            low, high = self.decision_scores_.min(), self.decision_scores_.max()
            out = (scores - low) / max(high - low, 1e-300)
        elif method == "unify":
            out = erf((scores - self._mu) / max(self._sigma * np.sqrt(2), 1e-300))
        else:
            raise UsageError(f"method {method!r}: choose linear or unify")
        out = out.clip(0, 1)
        found = np.column_stack([1 - out, out])
        return (found, self.predict_confidence(X)) if return_confidence else found

    def predict_confidence(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """How likely the label would stay the same with other training rows: float64 `[n]`.

        Source: Perini et al. 2020, section 4.
        """
        scores, known = self.decision_function(X), np.sort(self.decision_scores_)
        n = len(known)
        below = np.searchsorted(known, scores, side="right")
        share = (1 + below) / (2 + n)
        found = 1 - binom.cdf(n - int(n * self.contamination), n, share)
        return np.where(scores > self.threshold_, found, 1 - found)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:  # noqa: N803
        """Fit, and the labels of the training rows."""
        return self.fit(X, y).labels_

    def fit_predict_score(self, X: Any, y: Any, scoring: str = "roc_auc_score") -> float:  # noqa: N803
        """Fit on rows, and compare their scores with the truth `y`, 1 for out.

        `scoring` is `roc_auc_score`, `prc_n_score` (precision among as many as are out) or
        `average_precision_score`.

        Raises:
            UsageError: `y` is not 0 and 1, both of them.
        """
        if set(np.unique(np.asarray(y)).tolist()) != {0, 1}:
            raise UsageError("y must have 0 (in) and 1 (out), and both of them, to compare with")
        self.fit(X)
        if scoring == "roc_auc_score":
            return float(roc_auc_score(y, self.decision_scores_))
        if scoring == "average_precision_score":
            return float(average_precision_score(y, self.decision_scores_))
        if scoring == "prc_n_score":
            truth = np.asarray(y)
            first = np.argsort(-self.decision_scores_, kind="stable")[: int(truth.sum())]
            return float(truth[first].mean())
        raise NotImplementedError(
            f"scoring {scoring!r}: choose roc_auc_score, prc_n_score or average_precision_score"
        )
