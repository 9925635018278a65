"""What `anogen reproduce` measures of a trained system, and what it makes of it as a detector."""

from typing import Any

import numpy as np
import torch

from anogen.data.batches import in_order, to_bytes
from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.detection.judge import judge
from anogen.detection.pictures import detection_pictures
from anogen.detection.scores import SCORES
from anogen.device import choose_device
from anogen.evaluation.evaluate import evaluate
from anogen.evaluation.generation import MIN_COMPARED, evaluate_generation, measure_samples
from anogen.evaluation.measures import compared
from anogen.experiments.stages import Made
from anogen.models.base import Encodes, GenerativeModel
from anogen.models.mixture import MixtureSampler
from anogen.models.sampling import PriorSampler
from anogen.report.history import training_curves
from anogen.report.pictures import all_pictures
from anogen.run import Run

DETECTION_SCORES = (
    "squared_error", "negative_elbo", "fused", "kl", "cross_entropy", "feature_error",
    "latent_mixture", "pixel_entropy", "nonzero_pixels", "compressed_size", "nearest_pixels",
    "principal_error", "one_class_svm", "isolation_forest",
)  # fmt: skip
"""The paper's two first, ours, others of the model, and baselines without a model."""
MIDPOINTS = 2000
FALSE_POSITIVE_RATE = 0.01
"""Of Table 2, as we read it."""
PICTURES = ("reconstructions", "samples", "latent_map", "latent_grid", "interpolation")


def measure(
    run: Run, model: GenerativeModel, data: Splits, seed: int, device: str, samples: int
) -> Made:
    """Reconstruction and samples, what training said at its end, and the system's pictures."""
    model.to(choose_device(device))
    result = evaluate(model, data.test, importance_samples=0, device=device)
    samples = min(samples, len(data.test))  # as many are compared
    result |= evaluate_generation(
        model, data, samples=samples, sampler=PriorSampler(model.latent), device=device
    )
    if isinstance(model, Encodes):
        mixture = evaluate_generation(
            model,
            data,
            samples=samples,
            sampler=MixtureSampler.fit(model, data.train),
            device=device,
        )
        result |= {f"mixture_{name}": mixture[name] for name in compared() if name in mixture}
        result["mean_image_squared_error"] = _error_of_mean_image(data)
        if data.test.labels is not None:
            result |= _midpoints(model, data, device)
    rows = run.metrics
    result["checkpoint_epoch"] = run.epoch_of()
    result |= {f"last_{name}": value for name, value in rows[-1].items()}
    result |= {f"first_{name}": value for name, value in rows[0].items()}
    drawn = [p for p in all_pictures(model.cpu(), data.test, seed) if p.name in PICTURES]
    return result, [*training_curves(rows), *drawn]


def _error_of_mean_image(data: Splits) -> float:
    """Squared error of the training images' mean as a reconstruction of every test image."""
    total = sum(b.x.double().sum(0) for b in in_order(data.train, torch.device("cpu")))
    mean = total / len(data.train)
    errors = [(b.x.double() - mean).square().flatten(1).sum(1)
              for b in in_order(data.test, torch.device("cpu"))]  # fmt: skip
    return float(torch.cat(errors).mean())


def _midpoints(model: GenerativeModel, data: Splits, device: str) -> dict[str, float]:
    """How real decoded midpoints between images of two classes look, beside averages of pixels."""
    test = data.test
    assert test.labels is not None
    assert isinstance(model, Encodes)
    order = np.random.default_rng(0).permutation(len(test))
    pairs = order[: len(order) // 2 * 2].reshape(2, -1)
    pairs = pairs[:, test.labels[pairs[0]] != test.labels[pairs[1]]][:, :MIDPOINTS]
    if pairs.shape[1] < MIN_COMPARED:
        return {}
    first, second = (test[rows] for rows in pairs)
    target, decoded, averages = torch.device(choose_device(device)), [], []
    with torch.inference_mode():
        for a, b in zip(in_order(first, target), in_order(second, target), strict=True):
            middle = (model.posterior_mean(a.x) + model.posterior_mean(b.x)) / 2
            decoded.append(to_bytes(model.decode(middle)))
            averages.append(to_bytes((a.x + b.x) / 2))
    measured = {
        name: measure_samples(Images(np.concatenate(parts), name), data, device=device)
        for name, parts in (("midpoint", decoded), ("pixel_average", averages))
    }
    return {f"{name}_precision": m["precision"] for name, m in measured.items() if "precision" in m}


def detect(run: Run, model: GenerativeModel, data: Splits, other: Images, device: str) -> Made:
    """Verdicts of every score that the model can give; the run keeps the detectors."""
    names = [name for name in DETECTION_SCORES if SCORES[name].fits(model)]
    verdicts = judge(
        model, data, [other], scores=names, false_positive_rate=FALSE_POSITIVE_RATE, device=device
    )
    rows = [verdict.row(data.name) for verdict in verdicts]
    by_score = {verdict.detector.name: verdict for verdict in verdicts}
    for name in ("squared_error", "fused"):
        by_score[name].detector.save(run.detector(name))
    own = by_score["squared_error"]
    missed = own.outside <= own.detector.calibration.threshold(FALSE_POSITIVE_RATE)
    near = by_score["nearest_pixels"].outside
    result: dict[str, Any] = {"rows": rows, "missed": int(missed.sum()), "outside": len(missed)}
    if 0 < missed.sum() < len(missed):
        result |= {
            "nearest_of_missed": float(near[missed].mean()),
            "nearest_of_found": float(near[~missed].mean()),
        }
    shown = [v for v in verdicts if v.detector.name in ("squared_error", "fused", "pixel_entropy")]
    pictures = detection_pictures(shown, data.test, [other])
    return result, [p for p in pictures if p.name != "scores_pixel_entropy"]
