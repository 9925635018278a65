"""Pictures of parts with defects: where a detector sees them, measured and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images
from anogen.data.masks import Masked, masks_beside, read_masked
from anogen.data.pictures import Pictures
from anogen.data.splits import joined
from anogen.detection.calibration import Calibration
from anogen.detection.detector import Detector
from anogen.detection.judge import Detection
from anogen.detection.localisation import Localisation
from anogen.detection.scores import SCORES
from anogen.errors import DataError
from anogen.report import figures
from anogen.report.gallery import Picture

ALL = "all defects"
"""What all kinds of defects together are called."""
MOST_TRAINING = 2000
"""Training pictures among which the most unusual are looked for."""
SHOWN = 12
"""Pictures of each kind that are drawn."""

Masks = NDArray[np.bool_]


def masks_for(folder: Path, masks: Path | None, pictures: Pictures) -> Masked | None:
    """The pictures of a folder with masks, if there are any.

    Args:
        folder: of pictures.
        masks: where masks are, in a sub-folder named as the folder or side by side; default: where
            MVTec AD's layout has them.
        pictures: how they are read.

    Raises:
        DataError: the folder of masks is not there, or masks do not fit.
    """
    if masks is None:
        beside = masks_beside(folder)
        return None if beside is None else read_masked(folder, beside, pictures)
    if not masks.is_dir():
        raise DataError(f"{masks}: no such folder of masks")
    own = masks / folder.name
    return read_masked(folder, own if own.is_dir() else masks, pictures)


def together(sets: Sequence[Masked]) -> Masked:
    """All kinds of defects as one set."""
    images = joined([each.images for each in sets])
    return Masked(
        replace(images, name=ALL),
        np.concatenate([each.masks for each in sets]),
        [path for each in sets for path in each.files],
    )


@dataclass(frozen=True, eq=False)
class Places:
    """The maps of a detector that looks at places, of good pictures and of sets with defects.

    Attributes:
        threshold: of a pixel: in this share of good pictures any pixel exceeds it.
        good: maps of good test pictures, float64 `[n, h, w]`.
        found: name of a set → its maps.
    """

    threshold: float
    good: NDArray[np.float64]
    found: dict[str, NDArray[np.float64]]

    @classmethod
    def of(
        cls,
        detector: Detector,
        calibrating: Images,
        good: Images,
        sets: Sequence[Images],
        false_positive_rate: float,
    ) -> "Places | None":
        """None for a detector that does not look at places.

        Args:
            detector: of any score.
            calibrating: good pictures that set the threshold, the validation images.
            good: other good pictures.
            sets: of pictures with defects.
            false_positive_rate: share of good pictures in which a pixel may exceed the threshold.
        """
        score = SCORES[detector.name]
        if score.map is None or score.sums:
            return None
        highest = detector.map(calibrating).max((1, 2))
        threshold = Calibration.of(highest).threshold(false_positive_rate)
        return cls(threshold, detector.map(good), {s.name: detector.map(s) for s in sets})

    def row(self, name: str, masks: Masks) -> dict[str, Any]:
        """Measures of places against masks, with 95 % intervals, of one set and the good ones."""
        maps = np.concatenate([self.good, self.found[name]])
        empty = np.zeros(self.good.shape, np.bool_)
        found = Localisation.of(maps, np.concatenate([empty, masks]))
        measures: dict[str, Any] = dict(found.measures())
        for key, (low, high) in found.intervals().items():
            measures |= {f"{key}_low": low, f"{key}_high": high}
        return measures | {"pixel_threshold": self.threshold}


def place_pictures(
    places: Places,
    detections: Sequence[Detection],
    good: Images,
    sets: Sequence[Images],
    masks: dict[str, Masks],
    training: Images,
) -> list[Picture]:
    """The missed defects first, a picture for each kind; then the worst good pictures.

    Last the most unusual training pictures, among which there may be defects: a picture that was
    learnt from is less unusual than a new one like it, but keeps its place among the others.

    Args:
        places: what the detector sees.
        detections: of the detector, one for each set.
        good: test pictures.
        sets: of defects.
        masks: name of a set → its masks, where there are any.
        training: pictures that the detector learnt from.
    """
    drawn: list[Picture] = []
    limit = detections[0].detector.calibration.threshold(detections[0].false_positive_rate)

    def sheet(images: Images, maps: Any, scores: NDArray[np.float64], rows: Any, of: Any) -> Any:
        titles = [f"{scores[row]:.2f}: {'out' if scores[row] > limit else 'in'}" for row in rows]
        return figures.overlays(
            np.array(images.pixels[rows]), maps[rows], None if of is None else of[rows],
            places.threshold, titles,
        )  # fmt: skip

    for detection, images in zip(detections, sets, strict=True):
        if images.name == ALL:
            continue
        rows = np.argsort(detection.outside)[:SHOWN]
        of = masks.get(images.name)
        outlined = " The outline above is the mask's." if of is not None else ""
        drawn.append(Picture(
            f"places_{images.name}", f"Where it is seen: {images.name}",
            f"Pictures of {images.name}, the least suspicious first, with their scores "
            f"(threshold {limit:.2f}); below each what the score {detection.detector.name} sees, "
            f"with a line around pixels over the threshold.{outlined}",
            sheet(images, places.found[images.name], detection.outside, rows, of),
        ))  # fmt: skip
    rows = np.argsort(-detections[0].inside)[:SHOWN]
    drawn.append(Picture(
        "places_good", "The most suspicious good pictures",
        f"Test pictures without a defect, the most suspicious first (threshold {limit:.2f}).",
        sheet(good, places.good, detections[0].inside, rows, None),
    ))  # fmt: skip
    detector, some = detections[0].detector, training.evenly(MOST_TRAINING)
    scores = detector.score(some)
    chosen = some[np.argsort(-scores)[:SHOWN]]
    scores = np.sort(scores)[::-1][:SHOWN]
    drawn.append(Picture(
        "places_training", "The most unusual training pictures",
        "Pictures that were learnt from, the most unusual first. One with a defect teaches that "
        "the defect is good: take it out, and train again.",
        sheet(chosen, detector.map(chosen), scores, np.arange(len(chosen)), None),
    ))  # fmt: skip
    return drawn
