"""What an estimator of scikit-learn's contract and one of PyOD's share: fitting and checks."""

import tempfile
from pathlib import Path
from signal import SIGINT
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from anogen.data.columns import Columns
from anogen.data.frames import is_frame, is_typed, named, refuse_dates, refuse_gaps
from anogen.data.images import Images, images_from_array, is_table, refuse_masked
from anogen.data.scaling import Scaling
from anogen.data.splits import Splits, joined
from anogen.data.tables import Table
from anogen.detection.calibration import allowed, refuse_nan
from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.export import export_onnx
from anogen.detection.reasons import Reason, reasons, reasons_of
from anogen.detection.scores import FUSED, ROBUST, SCORES, usual_score
from anogen.device import memory_advice, own_randomness
from anogen.errors import (
    DivergenceError,
    Interrupted,
    UsageError,
    finite_number,
    whole_number,
)
from anogen.models import find_model
from anogen.models.base import Model
from anogen.progress import silence
from anogen.training.fit import fit

MIN_TRAINING = 10
"""With fewer rows left for training, calibration is on the training rows themselves."""
CROSS_FITTED = (FUSED, ROBUST)
"""Scores of tables that hold no rows out for their calibration."""


class Estimator(BaseEstimator):
    """What both wrappers share: arrays in, a trained and calibrated `Detector` inside."""

    def __init__(
        self,
        model: str | type[Model] = "VAE",
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
    def model_(self) -> Model:
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
        if self._columns is not None:
            raise UsageError(
                "a graph takes numbers; fit on a table without categories, dates and gaps to "
                "export its detector"
            )
        scaling = None if self._pictures else Scaling(self.centre_, self.spread_)
        with silence():
            return export_onnx(self.detector_, path, images, rate, scaling=scaling)

    def refresh(self, X: Any) -> Self:  # noqa: N803
        """Learn from new normal rows beside those of `fit`, without training anew.

        Neighbours, densities and the calibration are of all rows then, so that the promised rate
        holds for the mixture of old and new ones. Scales and categories stay as `fit` found them.

        Args:
            X: rows of a table, as for `predict`.

        Raises:
            UsageError: fitted on images, or with a score that a trained model gives.
        """
        check_is_fitted(self)
        if self._rows is None:
            raise UsageError(
                "refresh is for tables with the scores fused and robust, which no net is trained "
                "for; fit again"
            )
        rows = joined([self._rows, self._images(X, new=False)])
        detector = Detector.fit(
            self.model_, Splits(rows, rows, rows), self.detector_.name, self.device
        )
        self._rows, self.detector_ = rows, detector
        self._after_training(X)
        return self

    def explain(self, X: Any, most: int = 3) -> list[list[Reason]]:  # noqa: N803
        """The columns to which rows owe most of their scores; see `anogen.detection.reasons`.

        Args:
            X: rows of a table, as for `predict`.
            most: reasons for each row.

        Raises:
            UsageError: fitted on images.
        """
        check_is_fitted(self)
        if self._pictures:
            raise UsageError("explain is for tables; anogen.explain explains images")
        columns = self._columns
        if columns is None:
            given = getattr(self, "feature_names_in_", None)
            columns = [f"x{i}" for i in range(self.n_features_in_)] if given is None else given
        if self._columns is not None and is_frame(X):
            return reasons_of(self.detector_, self._columns, X, most)
        return reasons(self.detector_, self._images(X, new=False), columns, most)

    def __sklearn_tags__(self) -> Any:
        """As scikit-learn asks for them: missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    _table_score: ClassVar[str] = FUSED
    """The default score of tables."""
    _rate_name: ClassVar[str]
    """The parameter that says which share of rows that belong may be flagged."""

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
        kind = self.model if isinstance(self.model, type) else find_model(str(self.model))
        score = self._score_for(kind, images.shape)
        data = self._split(images, score, rate, held_out_share, random)
        seed = int(random.randint(2**31 - 1))
        with own_randomness(), tempfile.TemporaryDirectory() as folder, silence():
            torch.manual_seed(seed)
            with memory_advice("choose a smaller model with options"):
                model = kind(images.shape, **given)
            refuse_unfit(model, score)
            if _needs_training(score, is_table(images.shape)):
                self._train_model(model, data, Path(folder) / "run", epochs, batch_size, seed)
            model.requires_grad_(False)
            self.detector_ = Detector.fit(model, data, score, self.device)

    def _split(
        self, images: Images, score: str, rate: float, held_out: float, random: Any
    ) -> Splits:
        """Training rows and those that calibrate; all rows are both where they are cross-fitted."""
        order = random.permutation(len(images))
        needed = max(round(held_out * len(order)), int(np.ceil(1 / rate)))
        cross_fitted = score in CROSS_FITTED and is_table(images.shape)
        self._rows = images if cross_fitted else None
        if cross_fitted or len(order) - needed < MIN_TRAINING:
            allowed(rate, len(images))
            return Splits(images, images, images)
        allowed(rate, needed)
        training = images[np.sort(order[needed:])]
        return Splits(training, images[np.sort(order[:needed])], training)

    def _checked_rates(self, rate: Any) -> tuple[float, float]:
        name = self._rate_name
        rate, held_out = finite_number(name, rate), finite_number("held_out", self.held_out)
        if not 0 < rate <= 0.5:
            raise UsageError(f"{name} must lie in (0, 0.5], found {rate}")
        if not 0 < held_out < 1:
            raise UsageError(f"held_out must lie in (0, 1), found {held_out}")
        return rate, held_out

    def _score_for(self, kind: type[Model], shape: tuple[int, int, int]) -> str:
        """The score that was asked for, or the default of images or of tables."""
        if self.score_name is not None:
            return self.score_name
        if not is_table(shape):
            return usual_score(shape) if self.model == "VAE" else FUSED
        if self.model != "VAE":  # somebody wants this very model, and the default needs none
            raise UsageError(
                f"{kind.__name__} has no default score on a table: the default there, "
                f"{self._table_score}, uses no model; choose a score_name, such as squared_error"
            )
        return self._table_score

    def _train_model(
        self,
        model: Model,
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
            converted = images_from_array(np.asarray(x), "images")
            if new:
                self.n_features_in_ = int(np.prod(converted.shape))
            return converted
        refuse_masked(x, "the table")
        return self._table(x, new=new)

    def _table(self, x: Any, *, new: bool) -> Images:
        """The rows of a table: of numbers alone, or with categories, dates and gaps."""
        typed = is_typed(x) if new else self._columns is not None
        if typed:
            return self._typed(x, new=new)
        refuse_dates(x)
        if not new:
            refuse_gaps(x)
        rows: Any = x
        least = 2 if new else 1
        checked: Any = validate_data(
            self, rows, reset=new, dtype=np.float64, ensure_min_samples=least,
            ensure_all_finite="allow-nan" if new else True,
        )  # fmt: skip
        if new and np.isnan(checked).any():  # of a list
            return self._typed(checked, new=True)
        if new:
            self._columns = None
            scaling = Scaling.of(checked)
            self.centre_, self.spread_ = scaling.centre, scaling.spread
        return Scaling(self.centre_, self.spread_).images(checked)

    def _typed(self, x: Any, *, new: bool) -> Images:
        """Rows by their typed columns; see `anogen.data.columns`."""
        rows: Any = x
        validate_data(self, rows, reset=new, skip_check_array=True)
        if not is_frame(x):
            x = named(validate_data(self, rows, reset=new, dtype=np.float64,
                                     ensure_all_finite="allow-nan"))  # fmt: skip
        table = Table.of(x, "the table")
        if new:
            self._columns = Columns.of(table)
            self._columns.say_left_out()
        assert self._columns is not None
        return self._columns.images_of(table)


def _is_fitted_name(name: str) -> bool:
    """Whether an attribute is something that `fit` sets."""
    return name in ("_pictures", "_columns", "_rows", "_mu", "_sigma") or (
        name.endswith("_") and not name.startswith("_")
    )


def _needs_training(score: str, table: bool) -> bool:
    """Whether a score uses a trained model."""
    return (score == FUSED and not table) or bool(SCORES[score].needs)
