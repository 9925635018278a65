"""Scoring throughput: ours, plain PyTorch, ONNX Runtime, scikit-learn and PyOD, in turn in one run.

    python benchmarks/scoring.py --out docs/results/scoring_throughput.json

The plain loop is what one would write first: float32, the model in evaluation mode, batches of 256
from one tensor in memory, the squared error of the reconstruction and nothing else. scikit-learn's
one-class SVM (RBF kernel) learns from as many images as it can in reasonable time, PyOD's VAE has
its own dense nets; they show what a detector costs elsewhere, not the same work.
"""

# pyod is installed by `make bench` only
# pyright: reportMissingImports=false

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from pyod.models.vae import VAE as PeerVAE  # noqa: N811
from sklearn.svm import OneClassSVM

from anogen import VAE, Detector, Images, Run, Splits, fit, load_data
from anogen.data.batches import to_unit
from anogen.detection.export import export_onnx
from anogen.presets import load_preset
from anogen.progress import silence
from race import keep, machine, per_second, race, show

BATCH = 256
PLAIN = "plain PyTorch, float32, squared error"
SVM_IMAGES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="default: a VAE is trained for an epoch")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(options.run) if options.run else trained(Path(folder) / "run")
        data = run.load_data()
        images = (data if options.run else load_data("auto")).test[: options.images]
        works = contestants(run, data, images, Path(folder) / "detector.onnx")
        rates = race({n: timed(images, work) for n, work in works.items()}, options.repetitions)
    show("images per second, median (lowest to highest)", rates, PLAIN)
    keep(machine() | {"images": len(images), "images_per_s": rates}, options.out)


def trained(path: Path) -> Run:
    """A VAE of the preset recommended, after a short epoch: its speed is that of any other."""
    data, preset = load_data("auto", limit=10_000), load_preset("VAE", "recommended")
    with silence():
        return fit(VAE(data.shape, **preset["model"]["init_args"]), data, path, epochs=1)


def contestants(
    run: Run, data: Splits, images: Images, graph: Path
) -> dict[str, Callable[[], Any]]:
    """Who → what scores all images."""
    model = run.load_model()
    with silence():
        detectors = {name: Detector.fit(model, data, name) for name in ("fused", "squared_error")}
        export_onnx(detectors["squared_error"], graph, data.validation)
    entries: dict[str, Callable[[], Any]] = {PLAIN: lambda: plain(model, images)}
    for name, detector in detectors.items():
        entries[f"anogen, {name}"] = lambda detector=detector: detector.score(images)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(graph, options)
    entries["anogen export, squared_error, ONNX Runtime"] = lambda: through(session, images)
    known, rows = (np.float32(part.pixels[:]).reshape(len(part), -1) / 255
                   for part in (data.train[:SVM_IMAGES], images))  # fmt: skip
    svm: Any = OneClassSVM(nu=0.1, gamma="scale").fit(known)
    entries[f"scikit-learn, OneClassSVM on {SVM_IMAGES:,} images"] = lambda: svm.score_samples(rows)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        peer = cast(Any, PeerVAE(epoch_num=1, batch_size=BATCH, device="cpu", verbose=0))
        peer.fit(known)
    entries["PyOD, VAE with its own dense nets"] = lambda: peer.decision_function(rows)
    return entries


def timed(images: Images, work: Callable[[], Any]) -> Callable[[], float]:
    """What gives the images per second of a piece of work, with nothing printed."""

    def measure() -> float:
        with silence(), contextlib.redirect_stderr(io.StringIO()):
            return per_second(len(images), work)

    return measure


def plain(model: Any, images: Images) -> torch.Tensor:
    """The squared error of every image's reconstruction."""
    pixels = to_unit(torch.from_numpy(images.pixels[:]))
    with torch.inference_mode():
        errors = [
            (x - model.reconstruct(x)).square().flatten(1).sum(1) for x in pixels.split(BATCH)
        ]
    return torch.cat(errors)


def through(session: Any, images: Images) -> list[Any]:
    """Score, p-value and label of every image by an exported graph."""
    return [
        session.run(None, {"pixels": images.pixels[start : start + BATCH]})
        for start in range(0, len(images), BATCH)
    ]


if __name__ == "__main__":
    main()
