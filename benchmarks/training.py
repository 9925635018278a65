"""Training throughput of the paper's VAE: anogen, pythae and a plain loop, in turn in one run.

python benchmarks/training.py --out docs/results/training_throughput.json

Everybody trains the same nets on the same images. Measured is what an epoch of training takes:
fetching batches, forward, backward, optimiser; not validation, not checkpoints.
"""

# pythae is installed by `make bench` only
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

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
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from anogen import VAE, Splits, fit, load_data
from anogen.data.batches import to_unit
from anogen.device import choose_device, choose_precision

LATENT = 2
FLOP_PER_IMAGE = 89e6
"""One training step of the paper's VAE: a forward pass of about 30 MFLOP and two such backward."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--images", type=int, default=9600)
    parser.add_argument("--repetitions", type=int, default=5)
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
    for batch in (32, 128):
        contestants: dict[str, Callable[[], float]] = {
            "anogen": lambda batch=batch: ours(data, batch, "auto"),
            "anogen, float32": lambda batch=batch: ours(data, batch, "float32"),
            "plain loop, float32, DataLoader": lambda batch=batch: plain(data, batch),
            "pythae": lambda batch=batch: pythae(data, batch),
        }
        found: dict[str, list[float]] = {name: [] for name in contestants}
        for repetition in range(options.repetitions + 1):
            for name, measure in contestants.items():
                rate = measure()
                if repetition:  # the first one warms up
                    found[name].append(rate)
        report["images_per_s"][batch] = found
        show(batch, found, report["bfloat16_gflops"])
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def show(batch: int, found: dict[str, list[float]], peak_gflops: float) -> None:
    """Print medians, spreads and the ratio to pythae measured in the same repetition."""
    print(f"batch {batch}: images per second, median (lowest to highest)")
    for name, rates in found.items():
        ratios = [ours / theirs for ours, theirs in zip(rates, found["pythae"], strict=True)]
        share = statistics.median(rates) * FLOP_PER_IMAGE / 1e9 / peak_gflops
        spread = f"{statistics.median(rates):7,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        ratio = f"{statistics.median(ratios):.2f} × pythae"
        print(f"  {name:<32} {spread}   {ratio}   {share:.2f} of the bfloat16 peak")


def ours(data: Splits, batch: int, precision: Any) -> float:
    """Images per second of one epoch of `anogen.fit`."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        run = fit(VAE(data.shape, LATENT), data, Path(folder) / "run", epochs=1,
                  batch_size=batch, precision=precision, device="cpu")  # fmt: skip
        return run.metrics[0]["images_per_s"]


def plain(data: Splits, batch: int) -> float:
    """The loop that one would write first."""
    torch.manual_seed(0)
    model = VAE(data.shape, LATENT)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pixels = to_unit(torch.from_numpy(data.train.pixels)).contiguous()
    loader = DataLoader(TensorDataset(pixels), batch, shuffle=True, drop_last=True)
    start = time.perf_counter()
    for (x,) in loader:
        optimizer.zero_grad()
        model.losses(x).players["vae"].backward()
        optimizer.step()
    return len(loader) * batch / (time.perf_counter() - start)


def pythae(data: Splits, batch: int) -> float:
    """One training epoch of pythae's own trainer and VAE, on our nets."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PeerVAE  # noqa: N811
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Any:
            mu, logvar = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    torch.manual_seed(0)
    nets = VAE(data.shape, LATENT)
    config = VAEConfig(input_dim=data.shape, latent_dim=LATENT)
    model = PeerVAE(config, Encoder(nets.encoder), Decoder(nets.decoder))
    pixels = to_unit(torch.from_numpy(data.train.pixels)).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=batch, num_epochs=1, no_cuda=True
        )
        trainer = BaseTrainer(model, BaseDataset(pixels, torch.zeros(len(pixels))),
                              training_config=settings)  # fmt: skip
        trainer.prepare_training()
        trainer.callback_handler.callbacks = []  # no progress bar: we time the training
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
