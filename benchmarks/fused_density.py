"""What the fused score should be made of, and what its mixture of Gaussians should be like.

    python benchmarks/fused_density.py RUN [RUN ...] --out docs/results/fused_density.json

Its statistics are left out one by one, other cheap scores added one by one; then come other
numbers of components, least widths and starts. Chosen on images made of validation images, none of
which any other table reports: quadrants exchanged, averages and maxima of two images, halves of two
images, shifts, enlargements, holes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen import Images, Run
from anogen.detection.density import Density
from anogen.detection.fitting import fitted_images
from anogen.detection.metrics import separation
from anogen.detection.scores import FUSED, SCORES, fit_scores
from anogen.detection.scores.fused import statistics
from anogen.detection.view import View, collect
from anogen.device import fast_bfloat16
from anogen.progress import say

IMAGES = 2000
CHEAP = 2
"""Most passes of a score that could be a statistic."""
MIXTURES: tuple[dict[str, Any], ...] = (
    *({"components": count} for count in (4, 8, 25)),
    *({"regularisation": width} for width in (1e-4, 1e-3, 1e-1)),
    {"fits": 1},
    {"fits": 1, "seed": 1},
    {"fits": 1, "seed": 2},
    {"fits": 5},
)
"""Options of `Density.fit` other than its own."""


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
    for change in dict.fromkeys(row["change"] for row in rows):
        own = [row for row in rows if row["change"] == change]
        means = [float(np.mean([row[key] for row in own])) for key in ("auroc", "tpr_at_1_fpr")]
        print(f"{change:<40}", *(f"{mean:.4f}" for mean in means))


def judge_run(run: Run) -> list[dict[str, Any]]:
    """Mean AUROC and share found at 1 % over the changed sets, for each change."""
    model, data = run.load_model(), run.load_data()
    device = torch.device("cpu")
    images = fitted_images(data)
    usual = statistics(model)
    others = [name for name, score in SCORES.items() if name not in usual and name != FUSED
              and score.passes <= CHEAP and not score.companions and score.fits(model)]  # fmt: skip
    names = [*usual, *others]
    states = fit_scores(model, images[::2], names, device)

    def values(part: Images, light: bool = True) -> NDArray[np.float64]:
        def stacked(view: View) -> Tensor:
            view = view.lightly if light and fast_bfloat16(device) else view
            columns = [SCORES[name](view, states.get(name)).double() for name in names]
            return torch.stack(columns, 1)

        return collect(stacked, model, part, device).numpy()

    held_out = data.validation[:IMAGES]
    sets = [held_out, *(Images(pixels, name) for name, pixels in changed(held_out))]
    lightly, fully = (
        [values(part, light) for part in (images[1::2], *sets)] for light in (True, False)
    )

    def judged(change: str, kept: list[str], light: bool = True, **options: Any) -> dict[str, Any]:
        known, inside, *outside = lightly if light else fully
        columns = [names.index(name) for name in kept]
        density = Density.fit(known[:, columns], **options)
        near = density.surprise(inside[:, columns])
        found = [separation(near, density.surprise(part[:, columns])) for part in outside]
        means = {k: float(np.mean([each[k] for each in found])) for k in ("auroc", "tpr_at_1_fpr")}
        return {"run": run.name, "data": data.name, "change": change, **means}

    rows = [judged("none", usual), judged("networks in float32", usual, light=False)]
    rows += [judged(f"without {name}", [n for n in usual if n != name]) for name in usual]
    rows += [judged(f"with {name}", [*usual, name]) for name in others]
    for mixture in MIXTURES:
        words = ", ".join(f"{key} {value:g}" for key, value in mixture.items())
        rows.append(judged(words, usual, **mixture))
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
