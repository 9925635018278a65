"""Folders with many pictures: peak memory, and training from the cache beside from memory.

    python benchmarks/pictures.py --out docs/results/pictures.json

Makes folders of colour JPEGs of 256×256 (smooth noise), reads each in a process of its own and
trains on it for some steps, then measures how far that process's resident memory rose above that
of one that has imported the same libraries and trained a model of the same size on two pictures.
The race trains on the same pictures in turn from the cache and from an array in memory.
"""

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import anogen
from anogen.data import decoding
from anogen.data.batches import Shuffled
from anogen.data.images import Images
from anogen.device import choose_device, choose_precision
from anogen.training.step import make_players, train_step
from race import keep, machine, median_ratio, per_second, race, show

SIZE = 256
RACED = 2000
"""Pictures of the race."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", default="5000,20000", help="of pictures, with commas")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(*peak(options.peak))
        return
    report: dict[str, Any] = {"machine": machine(), "size": SIZE, "memory": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        empty = measured(Path(folder) / "two", 10)
        for number in map(int, options.numbers.split(",")):
            found = measured(Path(folder) / str(number), number)
            again = measured(Path(folder) / str(number), number)
            row = {
                "pictures": number,
                "peak_gb": found["peak_gb"] - empty["peak_gb"],
                "seconds_to_read": found["seconds"],
                "seconds_from_cache": again["seconds"],
            }
            report["memory"].append(row)
            print(row, flush=True)
        rates = raced(Path(folder), options.repetitions)
    show(f"training a VAE on {SIZE}×{SIZE} RGB: images/s", rates, "from memory")
    report["rates"] = rates
    report["cache_over_memory"] = median_ratio(rates["from the cache"], rates["from memory"])
    keep(report, options.out)


def measured(folder: Path, number: int) -> dict[str, float]:
    """Peak memory and seconds to read of a process that trains on the pictures of a folder."""
    make(folder, number)
    command = [sys.executable, __file__, "--peak", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    peak_gb, seconds = map(float, ran.stdout.split())
    return {"peak_gb": peak_gb, "seconds": seconds}


def make(folder: Path, number: int) -> None:
    """A folder of pictures, made where it is not there."""
    if folder.exists():
        return
    folder.mkdir()
    with ProcessPoolExecutor() as pool:
        list(pool.map(draw, itertools.repeat(folder, number), range(number), chunksize=100))


def draw(folder: Path, index: int) -> None:
    """One picture: noise of 16×16, enlarged."""
    noise = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
    enlarged = Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    enlarged.save(folder / f"{index:06}.jpg")


def peak(folder: Path) -> tuple[float, float]:
    """GB of resident memory at most, and seconds to read, with twenty steps of training."""
    start = time.perf_counter()
    data = anogen.load_data(folder)
    seconds = time.perf_counter() - start
    data.train.sha256  # as every run does  # noqa: B018
    work(data.train, 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, seconds


def work(images: Images, steps: int) -> None:
    """So many steps of training, batch 16, with random pictures."""
    device = choose_device("cpu")
    torch.manual_seed(0)
    model = anogen.VAE(images.shape, latent=16).train()
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    players, dtype = make_players(model, 1e-4, (0.9, 0.999)), choose_precision("auto", device)
    batches = Shuffled(images, 16, 0, device)
    endless = itertools.chain.from_iterable(batches.epoch(epoch) for epoch in itertools.count())
    for step, batch in enumerate(itertools.islice(endless, steps)):
        train_step(model, players, batch.x, step, dtype)


def raced(folder: Path, repetitions: int) -> dict[str, list[float]]:
    """Images per second of training from the cache and from memory."""
    make(folder / "raced", RACED)
    mapped = anogen.load_data(folder / "raced").train
    decoding.IN_MEMORY_BYTES = 1 << 40
    held = anogen.load_data(folder / "raced").train
    steps = 40
    return race(
        {
            "from the cache": lambda: per_second(16 * steps, lambda: work(mapped, steps)),
            "from memory": lambda: per_second(16 * steps, lambda: work(held, steps)),
        },
        repetitions,
    )


if __name__ == "__main__":
    main()
