"""Train pythae's VAEGAN on the paper's nets and keep its samples, for the table of distances.

python benchmarks/pythae_vaegan.py --epochs 10 --out runs/pythae_vaegan.npy
"""

# pythae is installed by `make bench` only
# pyright: reportMissingImports=false

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anogen import load_data
from anogen.data.batches import to_unit
from peers import vaegan_trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True, help="uint8 [count, c, h, w] as .npy")
    options = parser.parse_args()
    data = load_data(options.data)
    pixels = to_unit(torch.from_numpy(data.train.pixels[:])).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        trainer = vaegan_trainer(
            data.shape, options.latent, pixels, folder, options.batch, options.rate
        )
        start = time.monotonic()
        for epoch in range(1, options.epochs + 1):
            losses = trainer.train_step(epoch)
            took = time.monotonic() - start
            print(f"epoch {epoch}: losses {[round(float(x), 3) for x in losses]}, {took:.0f} s",
                  flush=True)  # fmt: skip
            np.save(options.out, samples(trainer.model, options.count))


@torch.inference_mode()
def samples(model: Any, count: int) -> np.ndarray:
    """Images decoded from the prior with seed 0: uint8 `[count, c, h, w]`."""
    model.eval()
    z = torch.randn(
        count, model.model_config.latent_dim, generator=torch.Generator().manual_seed(0)
    )
    decoded = torch.cat([model.decoder(part).reconstruction for part in z.split(250)])
    model.train()
    return (decoded * 255).round().to(torch.uint8).numpy()


if __name__ == "__main__":
    main()
