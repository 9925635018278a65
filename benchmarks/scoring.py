"""Scoring throughput: the fused score with all its statistics against plain PyTorch, in one run.

    python benchmarks/scoring.py RUN --out docs/results/scoring_throughput.json

The plain loop is what one would write first: float32, the model in evaluation mode, batches of 250
from one tensor in memory, the squared error of the reconstruction and nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from anogen import Detector, Images, Run
from anogen.data.batches import to_unit
from anogen.progress import silence

BATCH = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    run = Run.open(options.run)
    data, model = run.load_data(), run.load_model()
    images = data.test[: options.images]
    with silence():
        detectors = {name: Detector.fit(model, data, name) for name in ("fused", "squared_error")}
    entries: dict[str, Callable[[], Any]] = {
        "plain PyTorch, float32, squared error": lambda: plain(model, images)
    }
    for name, detector in detectors.items():
        entries[f"anogen, {name}"] = lambda detector=detector: detector.score(images)
    rates = race(entries, len(images), options.repetitions)
    base = next(iter(rates.values()))
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        print(f"{name:<40} {statistics.median(found):7,.0f} images/s "
              f"({min(found):,.0f} to {max(found):,.0f})   {ratio:.2f} × plain")  # fmt: skip
    if options.out:
        report = {"torch": torch.__version__, "threads": torch.get_num_threads(),
                  "images": len(images), "images_per_s": rates}  # fmt: skip
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def race(
    entries: dict[str, Callable[[], Any]], images: int, repetitions: int
) -> dict[str, list[float]]:
    """Images per second of everybody, in turn; a first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in entries}
    for repetition in range(repetitions + 1):
        for name, score in entries.items():
            start = time.perf_counter()
            with silence():
                score()
            if repetition:
                found[name].append(images / (time.perf_counter() - start))
    return found


def plain(model: Any, images: Images) -> torch.Tensor:
    """The squared error of every image's reconstruction."""
    pixels = to_unit(torch.from_numpy(images.pixels[:]))
    with torch.inference_mode():
        errors = [
            (x - model.reconstruct(x)).square().flatten(1).sum(1) for x in pixels.split(BATCH)
        ]
    return torch.cat(errors)


if __name__ == "__main__":
    main()
