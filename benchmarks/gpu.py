"""Training on a GPU, with and without CUDA graphs: images per second, and whether losses are equal.

python benchmarks/gpu.py --out docs/results/gpu.json
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

import anogen
from anogen.device import device_name
from race import keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = anogen.load_data("mnist", limit=6400)
    about = {"device": device_name(torch.device("cuda")), "torch": torch.__version__,
             "images": len(data.train), "epochs": options.epochs}  # fmt: skip
    rows: list[dict[str, Any]] = []
    for kind in (anogen.VAE, anogen.VAEGAN, anogen.GAN, anogen.StyleGAN):
        for batch in (32, 128):
            row: dict[str, Any] = {"model": kind.__name__, "batch": batch}
            losses: list[dict[str, float]] = []
            for name, graphs in (("plain", False), ("graphs", True)):
                torch.manual_seed(0)
                with tempfile.TemporaryDirectory() as folder:
                    run = anogen.fit(
                        kind(data.shape, latent=16), data, Path(folder) / "run",
                        epochs=options.epochs, batch_size=batch, cuda_graphs=graphs, device="cuda",
                    )  # fmt: skip
                    last = run.metrics[-1]
                row[name] = round(last["images_per_s"])
                losses.append({k: v for k, v in last.items() if k.startswith("validation_loss")})
            rows.append(row | {"equal": losses[0] == losses[1]})
            print(rows[-1], flush=True)
    keep(about | {"rates": rows}, options.out)


if __name__ == "__main__":
    main()
