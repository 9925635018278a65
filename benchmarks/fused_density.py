"""How many components the fused score's mixture should have, and how wide they should be at least.

    python benchmarks/fused_density.py RUN [RUN ...] --out docs/results/fused_density.json

Chosen on images made of validation images, none of which any other table reports: quadrants
exchanged, averages and maxima of two images, halves of two images, shifts, enlargements, holes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anogen import Images, Run
from anogen.detection.density import Density
from anogen.detection.detector import fitted_images
from anogen.detection.metrics import separation
from anogen.detection.scores import SCORES, fit_scores
from anogen.detection.scores.fused import measured, statistics
from anogen.detection.view import collect
from anogen.progress import say

IMAGES = 2000
COMPONENTS = (4, 8, 16, 25)
REGULARISATIONS = (1e-4, 1e-3, 1e-2, 1e-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for path in options.runs:
        say(f"measuring {path}")
        rows += judge_run(Run.open(path))
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    for components in COMPONENTS:
        for regularisation in REGULARISATIONS:
            own = [row for row in rows if row["components"] == components
                   and row["regularisation"] == regularisation]  # fmt: skip
            means = [float(np.mean([row[key] for row in own])) for key in ("auroc", "tpr_at_1_fpr")]
            print(components, regularisation, *(f"{mean:.4f}" for mean in means))


def judge_run(run: Run) -> list[dict[str, Any]]:
    """Mean AUROC and share found at 1 % over the changed sets, for each density."""
    model, data = run.load_model(), run.load_data()
    device = torch.device("cpu")
    images = fitted_images(data)
    names = statistics(SCORES, model)
    learnt = fit_scores(model, images[::2], names, device)
    state = {f"{name}.{key}": value for name, own in learnt.items() for key, value in own.items()}

    def statistics_of(part: Images) -> NDArray[np.float64]:
        return collect(lambda view: measured(SCORES, view, state), model, part, device).numpy()

    held_out = data.validation[:IMAGES]
    known, inside = statistics_of(images[1::2]), statistics_of(held_out)
    outside = {name: statistics_of(Images(pixels, name)) for name, pixels in changed(held_out)}
    rows: list[dict[str, Any]] = []
    for components in COMPONENTS:
        for regularisation in REGULARISATIONS:
            fitted = Density.fit(known, components=components, regularisation=regularisation)
            usual = fitted.surprise(inside)
            found = [separation(usual, fitted.surprise(part)) for part in outside.values()]
            rows.append({
                "run": run.name, "data": data.name, "components": components,
                "regularisation": regularisation,
                **{key: float(np.mean([each[key] for each in found]))
                   for key in ("auroc", "tpr_at_1_fpr")},
            })  # fmt: skip
    return rows


def changed(images: Images) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and pixels of each set made of images with an even height and width."""
    pixels = np.array(images.pixels[:])
    other = pixels[np.random.default_rng(0).permutation(len(pixels))]
    height, width = (size // 2 for size in pixels.shape[2:])
    hole, halves = pixels.copy(), pixels.copy()
    hole[..., height // 2 : -height // 2, width // 2 : -width // 2] = 0
    halves[..., height:, :] = other[..., height:, :]
    middle = pixels[..., height // 2 : height // 2 + height, width // 2 : width // 2 + width]
    yield "quadrants exchanged", np.roll(pixels, (height, width), (2, 3))
    yield "average of two", ((pixels.astype(np.uint16) + other) // 2).astype(np.uint8)
    yield "maximum of two", np.maximum(pixels, other)
    yield "halves of two", halves
    yield "shifted", np.roll(pixels, width // 2, 3)
    yield "enlarged", middle.repeat(2, 2).repeat(2, 3)
    yield "hole", hole


if __name__ == "__main__":
    main()
