"""Training throughput on the paper's nets: anogen, pythae and a plain loop, in turn in one run.

python benchmarks/training.py --out docs/results/training_throughput.json

Everybody trains the same nets on the same images. Measured is what an epoch of training takes:
fetching batches, forward, backward, optimiser; not validation, not checkpoints.
"""

# pythae is installed by `make bench` only
# pyright: reportMissingImports=false

import argparse
import json
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from anogen import VAE, VAEGAN, GenerativeModel, Splits, fit, load_data
from anogen.data.batches import to_unit
from anogen.device import choose_device, choose_precision
from peers import vae_trainer, vaegan_trainer

LATENT = 2
FLOP_PER_IMAGE = {"VAE": 89e6, "VAEGAN": 390e6}
"""One training step on the paper's nets. VAE: a forward pass of about 30 MFLOP and two such
backward. VAEGAN: one encoder, two decoder and three discriminator passes forward; backward, for
the encoder through all three nets, for the decoder through two, for the discriminator one."""

Contestants = dict[str, Callable[[], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--images", type=int, default=9600)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["VAE", "VAEGAN"])
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    whole = load_data(options.data)
    data = Splits(whole.train[: options.images], whole.validation[:256], whole.test[:256])
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": str(choose_precision("auto", choose_device("cpu"))),
        "float32_gflops": matrix_rate(torch.float32),
        "bfloat16_gflops": matrix_rate(torch.bfloat16),
        "images_per_s": {},
    }
    for model in options.models:
        for batch in options.batches:
            found = race(contestants(model, data, batch), options.repetitions)
            report["images_per_s"].setdefault(model, {})[batch] = found
            show(model, batch, found, report["bfloat16_gflops"])
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def contestants(model: str, data: Splits, batch: int) -> Contestants:
    """Name → what trains for an epoch and gives images per second."""

    def make() -> GenerativeModel:
        torch.manual_seed(0)
        if model == "VAE":
            return VAE(data.shape, LATENT)
        return VAEGAN(data.shape, LATENT, discriminator_batch_norm=True, r1=0.0)

    entries: Contestants = {
        "anogen": lambda: ours(make(), data, batch, "auto"),
        "anogen, float32": lambda: ours(make(), data, batch, "float32"),
        "pythae": lambda: pythae(model, data, batch),
    }
    if model == "VAE":
        entries["plain loop, float32, DataLoader"] = lambda: plain(make(), data, batch)
    return entries


def race(entries: Contestants, repetitions: int) -> dict[str, list[float]]:
    """Images per second of everybody, in turn; a first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in entries}
    for repetition in range(repetitions + 1):
        for name, measure in entries.items():
            rate = measure()
            if repetition:
                found[name].append(rate)
    return found


def show(model: str, batch: int, found: dict[str, list[float]], peak_gflops: float) -> None:
    """Print medians, spreads and the ratio to pythae measured in the same repetition."""
    print(f"{model}, batch {batch}: images per second, median (lowest to highest)", flush=True)
    for name, rates in found.items():
        ratios = [ours / theirs for ours, theirs in zip(rates, found["pythae"], strict=True)]
        share = statistics.median(rates) * FLOP_PER_IMAGE[model] / 1e9 / peak_gflops
        spread = f"{statistics.median(rates):7,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        ratio = f"{statistics.median(ratios):.2f} × pythae"
        print(f"  {name:<32} {spread}   {ratio}   {share:.2f} of the bfloat16 peak", flush=True)


def ours(model: GenerativeModel, data: Splits, batch: int, precision: Any) -> float:
    """Images per second of one epoch of `anogen.fit`."""
    with tempfile.TemporaryDirectory() as folder:
        run = fit(model, data, Path(folder) / "run", epochs=1, batch_size=batch,
                  precision=precision, device="cpu")  # fmt: skip
        return run.metrics[0]["images_per_s"]


def plain(model: GenerativeModel, data: Splits, batch: int) -> float:
    """The loop that one would write first, for a model of one player."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pixels = to_unit(torch.from_numpy(data.train.pixels[:])).contiguous()
    loader = DataLoader(TensorDataset(pixels), batch, shuffle=True, drop_last=True)
    start = time.perf_counter()
    for (x,) in loader:
        optimizer.zero_grad()
        model.losses(x).players["vae"].backward()
        optimizer.step()
    return len(loader) * batch / (time.perf_counter() - start)


def pythae(model: str, data: Splits, batch: int) -> float:
    """One training epoch of pythae's own trainer and model, on our nets."""
    pixels = to_unit(torch.from_numpy(data.train.pixels[:])).contiguous()
    make = vae_trainer if model == "VAE" else vaegan_trainer
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(data.shape, LATENT, pixels, folder, batch)
        start = time.perf_counter()
        trainer.train_step(1)
        return len(pixels) / (time.perf_counter() - start)


def matrix_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Measured rate of a matrix product, in GFLOP/s."""
    a = torch.randn(size, size).to(dtype)
    torch.matmul(a, a)
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        torch.matmul(a, a)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


if __name__ == "__main__":
    main()
