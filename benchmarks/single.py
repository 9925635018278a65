"""One image through a loaded detector, beside its bare forward pass.

    python benchmarks/single.py --out docs/results/single.json

The bare pass is what a service would cost that only reconstructs: the model in evaluation mode,
float32, one image, no score. Both for a net as it comes, on MNIST (or digits) and on 64×64 colour.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anogen
from anogen.data.batches import to_unit
from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.progress import silence
from race import keep, machine, median_ratio, race, show

BARE = "the bare forward pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = machine()
    noise = np.random.default_rng(0).integers(0, 256, (400, 3, 64, 64), np.uint8)
    for name, data in (
        ("28×28, grey", anogen.load_data("auto", limit=3000)),
        ("64×64, colour", anogen.split(Images(noise, "noise"))),
    ):
        times = race(contestants(data), options.repetitions)
        show(f"{name}: microseconds per image", times, BARE)
        report[name] = {"us": times} | {
            f"{who} / {BARE}": median_ratio(found, times[BARE])
            for who, found in times.items()
            if who != BARE
        }
    keep(report, options.out)


def contestants(data: Splits) -> dict[str, Callable[[], float]]:
    """Who → the median time of one image, in microseconds."""
    with tempfile.TemporaryDirectory() as folder, silence():
        torch.manual_seed(0)
        run = anogen.fit(anogen.VAE(data.shape, latent=16), data, Path(folder) / "run", epochs=1)
        model: Any = run.load_model()
    detectors = anogen.Detector.fit_all(model, data, ["fused", "squared_error"])
    one = data.test[:1]
    x = to_unit(torch.from_numpy(one.pixels[:]))

    def bare() -> None:
        with torch.inference_mode():
            model.reconstruct(x)

    entries = {BARE: bare} | {
        f"detector, {each.name}": (lambda each=each: each.score(one)) for each in detectors
    }
    return {name: lambda work=work: microseconds(work) for name, work in entries.items()}


def microseconds(work: Callable[[], Any], times: int = 50) -> float:
    """The median over some calls."""
    found: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(1e6 * (time.perf_counter() - start))
    return statistics.median(found)


if __name__ == "__main__":
    main()
