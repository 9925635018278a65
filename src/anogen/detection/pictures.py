"""Pictures of a detector at work: score histograms, operating curves, maps, explanations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from anogen.data.images import Images, is_table
from anogen.detection.explain import explain
from anogen.detection.judge import Detection
from anogen.detection.scores import SCORES
from anogen.detection.view import collect
from anogen.models.base import Encodes, GenerativeModel, Reconstructs
from anogen.report import figures
from anogen.report.gallery import Picture
from anogen.report.pictures import principal_plane

MAPPED = 1000
"""Images of each set in a map."""
EXPLAINED = 8


def detection_pictures(
    detections: Sequence[Detection], inside: Images, outside: Sequence[Images]
) -> list[Picture]:
    """What every score makes of every out-of-distribution set.

    Maps and explanations are of the first score.

    Args:
        detections: from `judge`.
        inside: the in-distribution test images of the detections.
        outside: their out-of-distribution sets.
    """
    drawn: list[Picture] = []
    for name in dict.fromkeys(detection.detector.name for detection in detections):
        own = [detection for detection in detections if detection.detector.name == name]
        values = {f"{inside.name} (in)": own[0].inside} | {v.out_set: v.outside for v in own}
        threshold = own[0].detector.calibration.threshold(own[0].false_positive_rate)
        drawn.append(Picture(
            f"scores_{name}", f"Score {name}",
            f"How the score {name} is distributed over each set; images above the threshold are "
            "flagged.",
            figures.histograms(values, threshold, f"score {name}", SCORES[name].unit),
        ))  # fmt: skip
    for images in outside:
        against = [detection for detection in detections if detection.out_set == images.name]
        curves = {detection.detector.name: _curve(detection) for detection in against}
        title = f"{inside.name} against {images.name}"
        drawn.append(Picture(
            f"operating_curves_{images.name}", f"Operating curves, {title}",
            f"Share of {images.name} that is found against the share of {inside.name} that is "
            "flagged by mistake, for every threshold of each score.",
            figures.operating_curves(curves, title),
        ))  # fmt: skip
        if is_table(images.shape):
            continue  # a row is no picture; its reasons are told in words
        drawn += _maps(against[0], inside, images)
        if isinstance(against[0].detector.model, Reconstructs):
            drawn.append(Picture(
                f"explanations_{images.name}", f"Explanations, {title}",
                f"Images of {inside.name} and of {images.name}, what the model makes of them, and "
                "what every pixel adds to the error, or how much it stands out (white: most).",
                _explained(against[0], inside, images),
            ))  # fmt: skip
    return drawn


def _maps(detection: Detection, inside: Images, outside: Images) -> list[Picture]:
    """Where the images lie in latent space, by the truth and by the calls: the paper's 9 and 10."""
    detector = detection.detector
    model = detector.model
    if not (isinstance(model, GenerativeModel) and isinstance(model, Encodes)) or model.latent < 2:
        return []
    places = [np.arange(0, len(part), -(-len(part) // MAPPED)) for part in (inside, outside)]
    means = [
        collect(lambda view: view.mean, detector.model, part[rows], detector.device).numpy()
        for part, rows in zip((inside, outside), places, strict=True)
    ]
    points, axes = np.concatenate(means), ("latent 1", "latent 2")
    if points.shape[1] > 2:
        points, axes = principal_plane(points)
    truth = np.repeat([0, 1], [len(part) for part in means])
    scores = np.concatenate([detection.inside[places[0]], detection.outside[places[1]]])
    limit = detector.calibration.threshold(detection.false_positive_rate)
    called = (scores > limit).astype(int)
    names, against = ("in", "out"), f"{inside.name} and {outside.name}"
    kinds = {
        "called": (f"as {detector.name} calls them", called),
        "true": ("the truth", truth),
    }
    return [
        Picture(
            f"map_{kind}_{outside.name}", f"Map of {against}, {what}",
            f"Posterior means of {against}: blue circles are in, orange squares out, {what}.",
            figures.scatter(points, labels, names, f"{against}:\n{what}", axes),
        )
        for kind, (what, labels) in kinds.items()
    ]  # fmt: skip


def _explained(detection: Detection, inside: Images, outside: Images) -> Figure:
    """Images of both sets, what the model made of them, and what each pixel adds to the error."""
    rows: list[NDArray[np.uint8]] = []
    parts = [part[:: max(1, len(part) // EXPLAINED)][:EXPLAINED] for part in (inside, outside)]
    explanations = [explain(detection.detector, part) for part in parts]
    maps = [one.map for one in explanations if one.map is not None]
    brightest = max(max(float(each.max()) for each in maps), 1e-12)
    for part, one, each in zip(parts, explanations, maps, strict=True):
        rebuilt = np.rint(255 * (one.rebuilt if one.rebuilt is not None else 0)).astype(np.uint8)
        share = np.rint(255 * each / brightest).astype(np.uint8)
        rows += [np.broadcast_to(shown, part.pixels.shape)
                 for shown in (part.pixels[:], rebuilt, share)]  # fmt: skip
    width = min(len(row) for row in rows)
    last = "adds to the error" if SCORES[detection.detector.name].sums else "stands out"
    labels = [f"{kind}: {what}" for kind in ("in", "out")
              for what in ("image", "rebuilt", last)]  # fmt: skip
    return figures.mosaic(np.stack([row[:width] for row in rows]), labels=labels)


def _curve(detection: Detection) -> tuple[NDArray[Any], NDArray[Any]]:
    truth = np.repeat([0, 1], [len(detection.inside), len(detection.outside)])
    false, true, _ = roc_curve(truth, np.concatenate([detection.inside, detection.outside]))
    return false, true
