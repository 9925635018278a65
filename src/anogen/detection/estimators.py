"""The detector in the clothes of scikit-learn (+1/−1) and of PyOD (0/1): for images and tables."""

import tempfile
from pathlib import Path
from signal import SIGINT
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from scipy.stats import binom
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from anogen.data.images import Images, Splits, images_from_array, images_from_table
from anogen.detection.calibration import allowed
from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.scores import FUSED
from anogen.detection.view import is_table
from anogen.errors import Interrupted, UsageError
from anogen.models import find_model
from anogen.progress import silence
from anogen.training.fit import fit

SQUASH = 3.0
"""A table's values this many standard deviations from their median lie at tanh 1 of the range."""
QUARTILES = 1.349
"""The distance between the quartiles of a Gaussian of standard deviation 1."""
MIN_TRAINING = 10
"""With fewer rows left for training, calibration is on the training rows themselves."""


class _Estimator(BaseEstimator):
    """What both faces share: arrays in, a trained and calibrated `Detector` inside."""

    def __init__(
        self,
        model: str = "VAE",
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

    def _train(self, x: Any, rate: float) -> None:
        """Fit model, score and calibration, so that a false-positive rate can be supported."""
        if not 0 < rate <= 0.5 or not 0 < self.held_out < 1:
            raise UsageError(
                f"rates must lie in (0, 0.5] and held_out between 0 and 1, found {rate} and "
                f"{self.held_out}"
            )
        images = self._images(x, new=True)
        random = check_random_state(self.random_state)
        order = random.permutation(len(images))
        needed = max(round(self.held_out * len(order)), int(np.ceil(1 / rate)))
        if len(order) - needed >= MIN_TRAINING:
            held_out, rest = order[:needed], order[needed:]
        else:
            held_out = rest = order
        allowed(rate, len(held_out))
        known = images[np.sort(rest)]
        data = Splits(known, images[np.sort(held_out)], known)
        seed = int(random.randint(2**31 - 1))
        with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder, silence():
            torch.manual_seed(seed)
            model = find_model(self.model)(images.shape, **(self.options or {}))
            usual = "squared_error" if is_table(images.shape) else FUSED
            score = self.score_name or usual
            refuse_unfit(model, score)
            try:
                fit(
                    model, data, Path(folder) / "run", epochs=self.epochs,
                    batch_size=self.batch_size, learning_rate=self.learning_rate, seed=seed,
                    device=self.device,
                )  # fmt: skip
            except Interrupted as stop:  # a grid search would take an error for a bad fit
                if stop.signal_number == SIGINT:
                    raise KeyboardInterrupt from None
                raise SystemExit(stop.exit_code) from None
            model.requires_grad_(False)
            self.detector_ = Detector.fit(model, data, score, self.device)

    def _surprise(self, x: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        with silence():
            return self.detector_.score(self._images(x, new=False))

    def _images(self, x: Any, *, new: bool) -> Images:
        """Rows of a table squashed to [0, 1], or images of any usual layout."""
        pictures = len(getattr(x, "shape", ())) > 2
        if not new and pictures != (not is_table(self.detector_.model.shape)):
            kinds = ("a table", "images")
            raise UsageError(f"fitted on {kinds[not pictures]}, now given {kinds[pictures]}")
        if pictures:
            return images_from_array(np.asarray(x), "images")
        checked: Any = validate_data(
            self, x, reset=new, dtype=np.float64, ensure_min_samples=2 if new else 1
        )
        if new:
            low, self.centre_, high = np.percentile(checked, [25, 50, 75], axis=0)
            spread = np.where(high > low, (high - low) / QUARTILES, checked.std(0))
            self.spread_ = np.where(spread > 0, spread, 1.0)
        scaled = np.tanh((checked - self.centre_) / (SQUASH * self.spread_))
        return images_from_table(0.5 + 0.5 * scaled)


class OutlierDetector(OutlierMixin, _Estimator):
    """A generative model as a scikit-learn outlier detector: +1 for in, −1 for out.

    `fit` trains a model on a part of the rows and calibrates it on the others, so that of new rows
    like these a share of about `false_positive_rate` is called out. Nothing is learnt from `y`.
    Tables are centred on their medians, scaled by their quartiles, so that a few huge values change
    nothing, and squashed, x ↦ ½ + ½ tanh(z / 3); images are taken as they are.

    Args:
        model: a name in `anogen.MODELS` or an import path.
        false_positive_rate: share of rows that belong and may be called out.
        score_name: a name in `anogen.SCORES` that the model can give; default: `fused` for images
            and `squared_error` for tables, whose training rows often have among them what shall be
            found, and a density would learn it.
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
        n_features_in_: columns of the table.

    Examples:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> detector = OutlierDetector(epochs=5).fit(rows)
        >>> detector.predict(np.full((1, 4), 30.0)).tolist()
        [-1]
    """

    def __init__(
        self,
        model: str = "VAE",
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
        self._train(X, self.false_positive_rate)
        self.offset_ = -self.detector_.calibration.threshold(self.false_positive_rate)
        return self

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

    As `OutlierDetector`, with PyOD's names. One thing is otherwise than in PyOD: `threshold_` is
    calibrated on held-out rows instead of being a percentile of the training scores, so that
    `contamination` is a rate that new rows of the same source keep to.

    Args:
        model: a name in `anogen.MODELS` or an import path.
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
        >>> detector = PyODDetector(epochs=5).fit(rows)
        >>> detector.predict(np.full((1, 4), 30.0)).tolist()
        [1]
    """

    def __init__(
        self,
        model: str = "VAE",
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
        self._train(X, self.contamination)
        self.threshold_ = self.detector_.calibration.threshold(self.contamination)
        self.decision_scores_ = self._surprise(X)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        self._mu, self._sigma = self.decision_scores_.mean(), self.decision_scores_.std()
        return self

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
        """
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
