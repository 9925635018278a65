"""Two kinds of model, each with two seeds, in one table with intervals.

python examples/compare_models.py --data mnist --epochs 3 --folder runs/compared
"""

import argparse
from pathlib import Path

import torch

import anogen
from anogen.experiments.compare import compare
from anogen.experiments.compare_page import write_comparison

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/compared"))
    options = parser.parse_args()
    data = anogen.load_data(options.data)
    runs: list[anogen.Run] = []
    for kind in (anogen.VAE, anogen.GAN):
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = kind(data.shape, latent=8)
            name = options.folder / f"{kind.__name__}-{seed}"
            runs.append(anogen.fit(model, data, name, epochs=options.epochs, seed=seed))
    found = compare(runs, samples=options.samples)
    for kind in found.kinds:
        mean, low, high = kind.summary("frechet_distance")
        print(f"{kind.name:<4} Fréchet distance {mean:.1f} ({low:.1f} to {high:.1f})")
    print(write_comparison(found, options.folder / "comparison"))
