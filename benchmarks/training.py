"""Training throughput on the paper's nets: anogen and its peers, in turn in one run.

python benchmarks/training.py --out docs/results/training_throughput.json

Everybody trains the same nets on the same images. Measured is what an epoch of training takes:
fetching batches, forward, backward, optimiser; not validation, not checkpoints. The bare loop does
what the engine does, in the same precision, and nothing else: it shows what the engine costs.
"""

# pythae and pytorch-lightning are installed by `make bench` only
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from anogen import VAE, VAEGAN, GenerativeModel, Splits, fit, load_data
from anogen.data.batches import Shuffled, to_unit
from anogen.device import choose_device, choose_precision
from anogen.progress import silence
from anogen.training.step import make_players, set_gradients
from peers import vae_trainer, vaegan_trainer
from race import Rates, keep, machine, per_second, race, show

LATENT = 2
RATE = 1e-3
FLOP_PER_IMAGE = {"VAE": 89e6, "VAEGAN": 390e6}
"""One training step on the paper's nets. VAE: a forward pass of about 30 MFLOP and two such
backward. VAEGAN: one encoder, two decoder and three discriminator passes forward; backward, for
the encoder through all three nets, for the decoder through two, for the discriminator one."""

Contestants = dict[str, Callable[[], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="auto")
    parser.add_argument("--images", type=int, default=9600)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["VAE", "VAEGAN"])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    whole = load_data(options.data)
    data = Splits(whole.train[: options.images], whole.validation[:256], whole.test[:256])
    report: dict[str, Any] = machine() | {"flop_per_image": FLOP_PER_IMAGE}
    precision: str = report["precision"]
    found: dict[str, dict[int, Rates]] = {}
    for model in options.models:
        for batch in options.batches:
            rates = race(contestants(model, data, batch), options.repetitions)
            found.setdefault(model, {})[batch] = rates
            show(f"{model}, batch {batch}: images per second, median (lowest to highest)", rates,
                 "pythae")  # fmt: skip
            achieved = median(rates["anogen"]) * FLOP_PER_IMAGE[model] / 1e9
            print(f"  {achieved / report[f'{precision}_gflops']:.2f} of the {precision} rate")
    keep(report | {"images_per_s": found}, options.out)


def contestants(model: str, data: Splits, batch: int) -> Contestants:
    """Who → what trains for an epoch and gives images per second."""

    def make() -> GenerativeModel:
        torch.manual_seed(0)
        if model == "VAE":
            return VAE(data.shape, LATENT)
        return VAEGAN(data.shape, LATENT, discriminator_batch_norm=True, r1=0.0)

    entries: Contestants = {
        "anogen": lambda: ours(make(), data, batch, "auto"),
        "bare loop, same precision": lambda: bare(make(), data, batch),
        "pythae": lambda: pythae(model, data, batch),
    }
    if choose_precision("auto", choose_device("cpu")) != torch.float32:
        entries["anogen, float32"] = lambda: ours(make(), data, batch, "float32")
    if model == "VAE":
        entries["plain loop, float32, DataLoader"] = lambda: plain(make(), data, batch)
        entries["Lightning, float32, DataLoader"] = lambda: lightned(make(), data, batch)
    return entries


def ours(model: GenerativeModel, data: Splits, batch: int, precision: Any) -> float:
    """Images per second of one epoch of `anogen.fit`."""
    with tempfile.TemporaryDirectory() as folder, silence():
        run = fit(model, data, Path(folder) / "run", epochs=1, batch_size=batch,
                  precision=precision, device="cpu")  # fmt: skip
        return run.metrics[0]["images_per_s"]


def bare(model: GenerativeModel, data: Splits, batch: int) -> float:
    """What the engine computes in each step, without anything around it."""
    device = torch.device("cpu")
    dtype = choose_precision("auto", device)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model.train()
    players = make_players(model, RATE, (0.9, 0.999))
    batches = Shuffled(data.train, batch, 0, device)

    def epoch() -> None:
        for x, _ in batches.epoch(0):
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                losses = model.losses(x, 0)
            set_gradients(players, losses.players)
            for player in players:
                player.optimizer.step()

    return per_second(len(batches) * batch, epoch)


def plain(model: GenerativeModel, data: Splits, batch: int) -> float:
    """The loop that one would write first, for a model of one player."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    loader = loader_of(data, batch)

    def epoch() -> None:
        for (x,) in loader:
            optimizer.zero_grad()
            model.losses(x).players["vae"].backward()
            optimizer.step()

    return per_second(len(loader) * batch, epoch)


class Module(lightning.LightningModule):
    """A model of one player, as Lightning calls one."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any) -> torch.Tensor:
        return self.model.losses(batch[0]).players["vae"]

    def configure_optimizers(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.parameters(), lr=RATE)


def lightned(model: GenerativeModel, data: Splits, batch: int) -> float:
    """One epoch of Lightning's trainer, with all that it writes and shows turned off."""
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = cast(Any, lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet))
    loader = loader_of(data, batch)
    return per_second(len(loader) * batch, lambda: trainer.fit(Module(model), loader))


def loader_of(data: Splits, batch: int) -> "DataLoader[tuple[torch.Tensor, ...]]":
    """Shuffled batches from one float32 tensor in memory."""
    pixels = to_unit(torch.from_numpy(data.train.pixels[:])).contiguous()
    return DataLoader(TensorDataset(pixels), batch, shuffle=True, drop_last=True)


def pythae(model: str, data: Splits, batch: int) -> float:
    """One training epoch of pythae's own trainer and model, on our nets."""
    pixels = to_unit(torch.from_numpy(data.train.pixels[:])).contiguous()
    make = vae_trainer if model == "VAE" else vaegan_trainer
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(data.shape, LATENT, pixels, folder, batch)
        return per_second(len(pixels), lambda: trainer.train_step(1))


if __name__ == "__main__":
    main()
