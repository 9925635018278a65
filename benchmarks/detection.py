"""Detection over seeds, both directions, a panel of transformed sets, and one digit as normal.

    python benchmarks/detection.py sets RUN [RUN ...] --out docs/results/detection_sets.json
    python benchmarks/detection.py digits --out docs/results/detection_digits.json

`sets` takes runs on MNIST and on Fashion-MNIST, one per seed; each is calibrated on its own
validation images and judged on its test images against the other data set and against ten
transformations of its own test images. `digits` trains one VAE per digit. Nothing is chosen here:
all that is measured is written.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kstest

from anogen import VAE, Images, Run, Splits, corrupt, fit, load_data
from anogen.detection.calibration import discoveries
from anogen.detection.judge import Detection, judge
from anogen.progress import say

SCORES = (
    "fused", "squared_error", "cross_entropy", "feature_error", "kl", "latent_neighbours",
    "latent_mixture", "pixel_entropy", "nonzero_pixels", "compressed_size", "mean_distance",
    "nearest_pixels", "principal_error", "principal_mixture", "one_class_svm",
    "isolation_forest",
)  # fmt: skip
PANEL = (
    "uniform_noise", "constant", "inversion", "gaussian_noise=0.2", "salt_and_pepper=0.1",
    "blur=1.5", "rotation=90", "horizontal_flip", "vertical_flip", "contrast=0.3",
)  # fmt: skip
PANEL_IMAGES = 2000
OTHER = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}
RATES = (0.01, 0.05)
FALSE_DISCOVERY_RATE = 0.1
SIMULATIONS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sets = commands.add_parser("sets")
    sets.add_argument("runs", nargs="+")
    digits = commands.add_parser("digits")
    digits.add_argument("--epochs", type=int, default=15)
    digits.add_argument("--latent", type=int, default=16)
    digits.add_argument("--seed", type=int, default=0)
    for command in (sets, digits):
        command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "sets":
        found = [judge_run(Run.open(path)) for path in options.runs]
        result: Any = {
            "scores": SCORES,
            "panel": PANEL,
            "panel_images": PANEL_IMAGES,
            "runs": found,
        }
    else:
        result = one_digit(options.epochs, options.latent, options.seed)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def judge_run(run: Run) -> dict[str, Any]:
    """Every score of one run against the other set and the panel; its promises, kept or not."""
    say(f"judging {run.path}")
    data = run.load_data()
    other = load_data(OTHER[data.name]).test
    few = data.test[:: len(data.test) // PANEL_IMAGES]
    panel = [corrupt(few, name) for name in PANEL]
    detections = judge(run.load_model(), data, [other, *panel], scores=SCORES)
    config = run.config
    return {
        "data": data.name,
        "seed": config["seed"],
        "epochs": config["epochs"],
        "latent": config["model"]["init_args"]["latent"],
        "rows": [detection.row(data.name) for detection in detections],
        "promises": [promises(v) for v in detections if v.out_set == other.name],
    }


def promises(detection: Detection) -> dict[str, Any]:
    """P-values of in-distribution test images, the rates of false alarms and of discoveries."""
    calibration = detection.detector.calibration
    inside, outside = (calibration.p_value(part) for part in (detection.inside, detection.outside))
    rng = np.random.default_rng(0)
    false: list[float] = []
    found: list[float] = []
    for _ in range(SIMULATIONS):
        batch = np.concatenate([rng.choice(inside, 180), rng.choice(outside, 20)])
        called = discoveries(batch, FALSE_DISCOVERY_RATE)
        false.append(called[:180].sum() / max(1, called.sum()))
        found.append(called[180:].mean())
    test: Any = kstest(inside, "uniform")
    return {
        "score": detection.detector.name,
        "ks_distance": float(test.statistic),
        "ks_p_value": float(test.pvalue),
        "false_positive_rates": {
            str(rate): {
                "measured": float((detection.inside > calibration.threshold(rate)).mean()),
                "interval": calibration.false_positive_interval(rate),
            }
            for rate in RATES
        },
        "false_discovery_rate": float(np.mean(false)),
        "discovered": float(np.mean(found)),
    }


def one_digit(epochs: int, latent: int, seed: int) -> dict[str, Any]:
    """A VAE per digit; the other nine digits of the test images are out."""
    data = load_data("mnist")
    rows: list[dict[str, Any]] = []
    for digit in range(10):
        say(f"digit {digit}")
        parts = (data.train, data.validation, data.test)
        train, validation, test = (_of(part, [digit]) for part in parts)
        own = Splits(train, validation, test)
        others = _of(data.test, [other for other in range(10) if other != digit])
        torch.manual_seed(seed)
        model = VAE(data.shape, latent=latent, likelihood="learned_sigma")
        with tempfile.TemporaryDirectory() as folder:
            fit(model, own, Path(folder) / "run", epochs=epochs, batch_size=64, seed=seed,
                learning_rate=1e-3, schedule="cosine")  # fmt: skip
        detections = judge(model, own, [others], scores=SCORES, false_positive_rate=0.05)
        rows += [{"digit": digit, **detection.row(own.name)} for detection in detections]
    mean = {
        name: float(np.mean([row["auroc"] for row in rows if row["score"] == name]))
        for name in SCORES
    }
    settings = {"epochs": epochs, "latent": latent, "seed": seed, "likelihood": "learned_sigma"}
    return {**settings, "mean_auroc": mean, "rows": rows}


def _of(images: Images, digits: Sequence[int]) -> Images:
    assert images.labels is not None
    return images[np.flatnonzero(np.isin(images.labels, digits))]


if __name__ == "__main__":
    main()
