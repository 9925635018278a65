"""A run as a detector, judged: in-distribution test images against sets from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from anogen.data.images import Images, Splits
from anogen.detection.calibration import Calibration
from anogen.detection.detector import (
    FUSED,
    Detector,
    fitted_images,
    ingredients,
    joined,
    refuse_unfit,
)
from anogen.detection.metrics import precision_recall, separation
from anogen.detection.scores import SCORES, available, score_images
from anogen.device import choose_device
from anogen.errors import UsageError
from anogen.models.base import GenerativeModel
from anogen.report import figures


@dataclass(frozen=True)
class Verdict:
    """One score against one set.

    Attributes:
        out_set: the name of the out-of-distribution set.
        detector: with its score.
        inside: scores of in-distribution test images.
        outside: scores of the other set.
        false_positive_rate: asked for.
    """

    out_set: str
    detector: Detector
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    false_positive_rate: float

    def row(self, in_set: str) -> dict[str, Any]:
        """Flat: names, threshold-free measures, and what happens at the threshold."""
        calibration = self.detector.calibration
        threshold = calibration.threshold(self.false_positive_rate)
        low, high = calibration.false_positive_interval(self.false_positive_rate)
        return {
            "in_set": in_set,
            "out_set": self.out_set,
            "score": self.detector.name,
            **separation(self.inside, self.outside),
            "threshold": threshold,
            "false_positive_rate": float((self.inside > threshold).mean()),
            "false_positive_rate_low": low,
            "false_positive_rate_high": high,
            **precision_recall(self.inside > threshold, self.outside > threshold),
        }


def judge(
    model: GenerativeModel,
    data: Splits,
    out_sets: Sequence[Images],
    *,
    scores: Sequence[str] = (FUSED, "squared_error"),
    false_positive_rate: float = 0.01,
    device: str = "auto",
) -> list[Verdict]:
    """Calibrate on `data.validation`, then compare `data.test` with each out-of-distribution set.

    Args:
        model: trained on `data.train`.
        data: in-distribution.
        out_sets: of the model's shape.
        scores: names; those that the model cannot give are refused.
        false_positive_rate: by which thresholds are set, from validation images alone.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: no set, or what `Detector.fit` refuses.
    """
    if not out_sets:
        raise UsageError("detect needs at least one out-of-distribution set")
    for name in scores:
        refuse_unfit(model, name)
    target = choose_device(device)
    columns = list(dict.fromkeys(part for name in scores for part in ingredients(model, name)))

    def scored(images: Images) -> NDArray[np.float64]:
        return score_images(model, images, columns, target)

    held_out = scored(data.validation)
    Calibration.of(held_out[:, 0]).threshold(false_positive_rate)  # refused before the long work
    known = scored(fitted_images(data)) if FUSED in scores else held_out
    inside, outside = scored(data.test), [scored(images) for images in out_sets]
    verdicts: list[Verdict] = []
    for name in scores:
        own = [columns.index(part) for part in ingredients(model, name)]
        fitted = known[:, own] if name == FUSED else None
        detector = Detector.of(model, name, fitted, held_out[:, own], target)
        values = joined(inside[:, own], detector.density)
        verdicts += [
            Verdict(images.name, detector, values, joined(others[:, own], detector.density),
                    false_positive_rate)
            for images, others in zip(out_sets, outside, strict=True)
        ]  # fmt: skip
    return verdicts


def all_scores(model: GenerativeModel) -> list[str]:
    """`fused`, then all that the model can give, then the baselines without a model."""
    return [FUSED, *available(model)]


def detection_figures(verdicts: Sequence[Verdict], in_set: str) -> dict[str, Figure]:
    """Name → figure: score histograms for each score, operating curves for each set."""
    made: dict[str, Figure] = {}
    for name in dict.fromkeys(verdict.detector.name for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.detector.name == name]
        values = {f"{in_set} (in)": own[0].inside} | {v.out_set: v.outside for v in own}
        threshold = own[0].detector.calibration.threshold(own[0].false_positive_rate)
        unit = "−log density, nats" if name == FUSED else SCORES[name].unit
        made[f"scores_{name}"] = figures.histograms(values, threshold, f"score {name}", unit)
    for out_set in dict.fromkeys(verdict.out_set for verdict in verdicts):
        curves = {
            verdict.detector.name: _curve(verdict)
            for verdict in verdicts
            if verdict.out_set == out_set
        }
        title = f"{in_set} against {out_set}"
        made[f"operating_curves_{out_set}"] = figures.operating_curves(curves, title)
    return made


def _curve(verdict: Verdict) -> tuple[NDArray[Any], NDArray[Any]]:
    truth = np.repeat([0, 1], [len(verdict.inside), len(verdict.outside)])
    false, true, _ = roc_curve(truth, np.concatenate([verdict.inside, verdict.outside]))
    return false, true
