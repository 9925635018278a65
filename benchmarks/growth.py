"""How time and memory grow: with images, size of batch, of images and of the latent space.

    python benchmarks/growth.py --out docs/results/growth.json --picture docs/results/growth.png

Each point is a process of its own on synthetic images. Training is an epoch of the preset `paper`,
its time that of the steps. Scoring is `anogen score` of an array file by the squared error, its
time without that of a call for ten images. Memory is the peak of what the process has in memory,
PyTorch itself and the pages of mapped files included.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from anogen import Run
from race import Points, exponent, keep, machine, run_alone

SCORED = (10_000, 100_000, 1_000_000)
TRAINED = (2_500, 10_000, 40_000)
BATCHES = (8, 32, 128, 512)
SIZES = (16, 32, 64, 128)
LATENTS = (2, 16, 128, 1024)
CHUNK = 10_000


@dataclass(frozen=True)
class Training:
    """An epoch of training."""

    images: int = 2048
    batch: int = 32
    size: int = 28
    latent: int = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small points of each kind")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    much = slice(2) if options.quick else slice(None)
    plain = Training(images=512) if options.quick else Training()
    points: dict[str, Points] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainings = {
            "training images": [replace(plain, images=n) for n in TRAINED[much]],
            "images per batch": [replace(plain, batch=n) for n in BATCHES[much]],
            "height and width": [replace(plain, size=n) for n in SIZES[much]],
            "latents": [replace(plain, latent=n) for n in LATENTS[much]],
        }
        for title, works in trainings.items():
            key = ("images", "batch", "size", "latent")[len(points)]
            points[title] = [point(title, getattr(work, key), work.images, train(folder, work))
                             for work in works]  # fmt: skip
        run = calibrated(folder)
        start, _ = score(folder, run, 10)
        for n in [n // 10 for n in SCORED[much]] if options.quick else SCORED:
            seconds, megabytes = score(folder, run, n)
            points.setdefault("scored images", []).append(
                point("scored images", n, n, (seconds - start, megabytes))
            )
    for title, found in points.items():
        time, memory = (exponent(found, key) for key in ("seconds", "megabytes"))
        print(f"{title}: time ~ x^{time:.2f}, memory ~ x^{memory:.2f}")
    keep(machine() | {"points": points}, options.out)
    if options.picture:
        draw(points, options.picture)


def point(title: str, x: int, images: int, used: tuple[float, float]) -> dict[str, float]:
    """One measurement, printed as it comes."""
    seconds, megabytes = used
    print(f"{title} {x:>9,}: {seconds:7.1f} s, {megabytes:6,.0f} MB", flush=True)
    return {"x": x, "images": images, "seconds": seconds, "megabytes": megabytes}


def train(folder: Path, work: Training) -> tuple[float, float]:
    """Seconds of an epoch's steps, and megabytes."""
    path = array(folder, work.images, work.size)
    _, megabytes = command(
        "train", "--model", "VAE", "--preset", "paper", "--model.latent", work.latent, "--data",
        path, "--epochs", 1, "--batch_size", work.batch, "--run", folder / "run",
    )  # fmt: skip
    seconds = Run.open(folder / "run").metrics[0]["elapsed_s"]
    shutil.rmtree(folder / "run")
    path.unlink()
    return seconds, megabytes


def calibrated(folder: Path) -> Path:
    """A run with its detector made, so that scoring is nothing but scoring."""
    few = array(folder, 2000, 28)
    run = folder / "scored"
    command("train", "--model", "VAE", "--preset", "paper", "--data", few, "--epochs", 1,
           "--run", run)  # fmt: skip
    command("score", run, few, "--score", "squared_error", "--out", folder / "few.csv")
    assert Run.open(run).detector("squared_error").exists()
    return run


def score(folder: Path, run: Path, images: int) -> tuple[float, float]:
    """Seconds and megabytes of the scores of an array file."""
    path, out = array(folder, images, 28), folder / f"{images}.csv"
    used = command("score", run, path, "--score", "squared_error", "--out", out)
    path.unlink()
    return used


def command(*words: Any) -> tuple[float, float]:
    """Seconds and megabytes of a command."""
    return run_alone([str(Path(sys.executable).with_name("anogen")), *map(str, words)])


def array(folder: Path, images: int, size: int) -> Path:
    """A file of random uint8 images, written in parts.

    Not by a memory map: a new process is said to have had the memory of the one that starts it.
    """
    path = folder / f"images-{images}-{size}.npy"
    about = {"descr": "|u1", "fortran_order": False, "shape": (images, size, size)}
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, images, CHUNK):
            shape = (min(CHUNK, images - start), size, size)
            file.write(rng.integers(0, 256, shape, np.uint8).tobytes())
    return path


def draw(points: dict[str, Points], path: Path) -> None:
    """Time and memory against each of what was varied, on logarithmic axes."""
    figure = Figure(figsize=(2.6 * len(points), 5), layout="constrained")
    axes: Any = figure.subplots(2, len(points), squeeze=False)
    for column, (title, found) in enumerate(points.items()):
        for row, (key, name) in enumerate(
            (("seconds", "seconds"), ("megabytes", "peak megabytes"))
        ):
            axis, y = axes[row, column], [p[key] for p in found]
            x = [p["x"] for p in found]
            axis.loglog(x, y, "o-", color="#0072B2")
            axis.set_xticks(x, [f"{value:,.0f}" for value in x], rotation=30)
            axis.tick_params(axis="x", which="minor", labelbottom=False)
            axis.set_title(f"exponent {exponent(found, key):.2f}", fontsize=10)
            axis.set_ylim(min(y) / 2, max(y) * 2)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:,g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(title)
            if not column:
                axis.set_ylabel(name)
            axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
