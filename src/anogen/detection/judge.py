"""A run as a detector, judged: in-distribution test images against sets from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.detection.calibration import allowed
from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.metrics import intervals, precision_recall, separation
from anogen.detection.scores import score_images, usual_score
from anogen.errors import UsageError
from anogen.models.base import Model


@dataclass(frozen=True)
class Detection:
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
        bounds = intervals(self.inside, self.outside)
        return {
            "in_set": in_set,
            "out_set": self.out_set,
            "score": self.detector.name,
            **separation(self.inside, self.outside),
            "auroc_low": bounds["auroc"][0],
            "auroc_high": bounds["auroc"][1],
            "tpr_at_1_fpr_low": bounds["tpr_at_1_fpr"][0],
            "tpr_at_1_fpr_high": bounds["tpr_at_1_fpr"][1],
            "fpr": self.false_positive_rate,
            "threshold": threshold,
            "false_positive_rate": float((self.inside > threshold).mean()),
            "false_positive_rate_low": low,
            "false_positive_rate_high": high,
            **precision_recall(self.inside > threshold, self.outside > threshold),
        }


def judge(
    model: Model,
    data: Splits,
    out_sets: Sequence[Images],
    *,
    scores: Sequence[str] | None = None,
    false_positive_rate: float = 0.01,
    device: str = "auto",
    companions: Sequence[Model] = (),
) -> list[Detection]:
    """Calibrate on `data.validation`, then compare `data.test` with each out-of-distribution set.

    Args:
        model: trained on `data.train`.
        data: in-distribution.
        out_sets: of the model's shape.
        scores: names; those that the model cannot give are refused; default: the usual one.
        false_positive_rate: by which thresholds are set, from validation images alone.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        companions: other models, for scores that compare with them.

    Raises:
        UsageError: no set, or what `Detector.fit` refuses.
    """
    if not out_sets:
        raise UsageError("detect needs at least one out-of-distribution set")
    names = [images.name for images in out_sets]
    if len(set(names)) < len(names):
        raise UsageError(f"two sets have one name, of {', '.join(names)}; name them apart")
    scores = [usual_score(model.shape)] if scores is None else scores
    for name in scores:
        refuse_unfit(model, name, companions)
    allowed(false_positive_rate, len(data.validation))
    detectors = Detector.fit_all(model, data, scores, device, companions)
    states = {detector.name: detector.state for detector in detectors}

    def scored(images: Images) -> NDArray[np.float64]:
        return score_images(model, images, scores, detectors[0].device, states, companions)

    inside, outside = scored(data.test), [scored(images) for images in out_sets]
    return [
        Detection(images.name, detector, inside[:, index], others[:, index], false_positive_rate)
        for index, detector in enumerate(detectors)
        for images, others in zip(out_sets, outside, strict=True)
    ]
