"""scikit-learn's (+1/−1) and PyOD's (0/1) wrappers of the detector, for images and tables."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from scipy.stats import binom
from sklearn.base import OutlierMixin
from sklearn.metrics import average_precision_score, roc_auc_score

from anogen.detection.estimator import Estimator
from anogen.detection.rejection import rejection_statistics, unsure
from anogen.detection.scores import ROBUST
from anogen.detection.scores.surprises import out_of_fold
from anogen.errors import (
    UsageError,
)
from anogen.models.base import Model


class OutlierDetector(OutlierMixin, Estimator):
    """A generative model as a scikit-learn outlier detector: +1 for in, −1 for out.

    `fit` learns from the rows and calibrates, so that of new rows like these a share of about
    `false_positive_rate` is flagged. Nothing is learnt from `y`. Tables are arrays, which may have
    gaps (NaN), or frames of pandas or polars with categories and dates too (`anogen.data.columns`);
    images are taken as they are.

    A fit that fails or is interrupted leaves the estimator as it was.

    Args:
        model: a name in `anogen.MODELS`, or a class of your own.
        false_positive_rate: share of rows that belong and may be flagged.
        score_name: a name in `anogen.SCORES` that the model can give; default: `fused` for images,
            and for tables, which needs no model, so that none is trained. Where training rows have
            among them what shall be found, take `robust`.
        epochs: passes over the training rows.
        batch_size: rows per step.
        learning_rate: Adam's.
        held_out: share of the rows on which the score is calibrated; more where the rate needs
            more. The scores `fused` and `robust` of tables are cross-fitted and hold none out. With
            too few rows to hold any out, all are used for both, and the rate is then that of the
            training rows; one that they are too few for is refused.
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
        model: str | type[Model] = "VAE",
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


class PyODDetector(Estimator):
    """A generative model with the interface of PyOD's detectors: 0 for in, 1 for out.

    As `OutlierDetector`, with PyOD's names. On tables the default score is `robust`, for training
    rows with outliers among them. One difference from PyOD: `threshold_` is calibrated on scores of
    rows that were not learnt from, so that `contamination` is a rate that new rows of the same
    source keep to.

    Args:
        model: a name in `anogen.MODELS`, or a class of your own.
        contamination: share of rows like the training rows that is flagged.
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
    _table_score = ROBUST

    def __init__(
        self,
        model: str | type[Model] = "VAE",
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
        own = out_of_fold(self.detector_.state)
        known = 0 if self._rows is None else len(self._rows)
        whole = own is not None and len(own) == known  # of very many rows only some are learnt
        self.decision_scores_ = own.numpy() if own is not None and whole else self._surprise(x)
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
        probabilities = np.column_stack([1 - out, out])
        return (probabilities, self.predict_confidence(X)) if return_confidence else probabilities

    def predict_confidence(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """How likely the label would stay the same with other training rows: float64 `[n]`.

        Source: Perini et al. 2020, section 4.
        """
        scores, references = self.decision_function(X), np.sort(self.decision_scores_)
        n = len(references)
        below = np.searchsorted(references, scores, side="right")
        share = (1 + below) / (2 + n)
        confidence = 1 - binom.cdf(n - int(n * self.contamination), n, share)
        return np.where(scores > self.threshold_, confidence, 1 - confidence)

    def predict_with_rejection(
        self,
        X: Any,  # noqa: N803
        T: float = 32,  # noqa: N803
        return_stats: bool = False,
        delta: float = 0.1,
        c_fp: float = 1,
        c_fn: float = 1,
        c_r: float = -1,
    ) -> Any:
        """Labels as `predict` gives them, and −2 where the detector is unsure: int64 `[n]`.

        Args:
            X: rows or images.
            T: a label is rejected where its confidence is at most 1 − exp(−T).
            return_stats: give the expected rate of rejection, its upper bound and that of the cost
                too; see `anogen.detection.rejection`.
            delta: with which probability the bound of the rate may fail.
            c_fp: cost of a false alarm.
            c_fn: cost of a missed outlier.
            c_r: cost of a rejection; negative: the contamination.

        Source: Perini & Davis 2023.
        """
        labels, confidence = self.predict(X, return_confidence=True)
        rejected = np.where(2 * np.abs(confidence - 0.5) <= unsure(T), -2, labels)
        if not return_stats:
            return rejected
        costs = (c_fp, c_fn, self.contamination if c_r < 0 else c_r)
        return rejected, rejection_statistics(
            len(self.decision_scores_), self.contamination, T, delta, costs
        )

    def _predict_rank(self, X: Any, normalized: bool = False) -> NDArray[Any]:  # noqa: N803
        """The place of each score among those of the training rows, as PyOD has it: `[n]`."""
        ranks = np.searchsorted(np.sort(self.decision_scores_), self.decision_function(X))
        return ranks / max(1, ranks.max()) if normalized else ranks

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
