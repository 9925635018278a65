"""The pictures of the gallery, from trained runs; see docs/gallery.md for their commands.

    python benchmarks/gallery.py runs --out docs/gallery

`runs` has the folders vae, vaegan, gan and stylegan (MNIST), emoji_vae, emoji_vaegan and emoji_gan
(32×32 colour). Samples are the first that come, none was chosen.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import anogen
from anogen.data.batches import to_bytes, to_unit
from anogen.evaluation.generation import sample_images
from anogen.models.base import Encodes, Reconstructs, generative
from anogen.models.mixture import MixtureSampler

COLUMNS, ROWS, ENLARGED = 16, 4, 2
SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--emoji", type=Path, help="the file on which the emoji runs were trained")
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    options = parser.parse_args()
    mnist = anogen.load_data("mnist")
    emoji = anogen.load_data(options.emoji) if options.emoji else None
    for run in sorted(path for path in options.runs.iterdir() if (path / "config.yaml").exists()):
        data = emoji if run.name.startswith("emoji") else mnist
        if data is not None:
            draw(generative(anogen.load(run).model, run.name), data, options.out / run.name)
    detection(options.out / "detection.png")


def draw(model: anogen.GenerativeModel, data: anogen.Splits, start: Path) -> None:
    """Samples from the prior, from a mixture where there is one, and reconstructions."""
    drawn = sample_images(model, COLUMNS * ROWS, SEED, anogen.PriorSampler(model.latent))
    save(sheet(drawn.pixels[:]), Path(f"{start}_samples.png"))
    if isinstance(model, Encodes):
        sampler = MixtureSampler.fit(model, data.train)
        drawn = sample_images(model, COLUMNS * ROWS, SEED, sampler)
        save(sheet(drawn.pixels[:]), Path(f"{start}_samples_mixture.png"))
    if isinstance(model, Reconstructs):
        chosen = data.test[np.linspace(0, len(data.test) - 1, 2 * COLUMNS).astype(np.int64)]
        with torch.inference_mode():
            rebuilt = to_bytes(model.reconstruct(to_unit(torch.from_numpy(chosen.pixels[:]))))
        halves = [part[i : i + COLUMNS] for i in (0, COLUMNS) for part in (chosen.pixels, rebuilt)]
        save(sheet(np.concatenate(halves)), Path(f"{start}_reconstructions.png"))


def sheet(pixels: NDArray[Any]) -> NDArray[Any]:
    """Images `[n, c, h, w]` in rows of sixteen: uint8 `[height, width, c]`."""
    _, channels, height, width = pixels.shape
    rows = pixels.reshape(-1, COLUMNS, channels, height, width)
    return rows.transpose(0, 3, 1, 4, 2).reshape(-1, COLUMNS * width, channels)


def save(pixels: NDArray[Any], path: Path) -> None:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = (ENLARGED * image.width, ENLARGED * image.height)
    image.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)


def detection(path: Path) -> None:
    """The example of the README as a picture: clean and damaged digits, where they differ."""
    data = anogen.load_data("digits")
    torch.manual_seed(0)
    folder = path.with_suffix("")
    run = anogen.fit(anogen.VAE(data.shape, latent=16), data, folder, epochs=20)
    trained = anogen.load(run.path)
    fused, error = trained.detector, trained.detectors["squared_error"]
    clean = data.test[:5]
    damaged = [anogen.corrupt(data.test[5 + i : 6 + i], how, seed=i) for i, how in enumerate(
        ("salt_and_pepper=0.05", "rotation=90", "blur", "inversion", "contrast=0.5"))]  # fmt: skip
    shown = [clean[i : i + 1] for i in range(len(clean))] + damaged
    figure, grid = plt.subplots(2, len(shown), figsize=(10, 2.7), layout="constrained")
    axes: Any = grid
    for column, images in enumerate(shown):
        p_value, flagged = fused.p_value(images)[0], fused.predict(images, 0.05)[0]
        top, bottom = axes[:, column]
        top.imshow(images.pixels[:][0, 0], cmap="gray", vmin=0, vmax=255)
        colour = "#b3261e" if flagged else "#1b6e3c"
        top.set_title(f"p = {p_value:.3f}", fontsize=9, color=colour)
        bottom.imshow(error.map(images)[0], cmap="inferno", vmin=0, vmax=0.5)
        for axis in (top, bottom):
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set(color=colour, linewidth=2)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
