r"""The quality of samples: our runs and pythae's VAEGAN, measured alike, in one file.

python benchmarks/generation.py runs/vae runs/vaegan runs/gan --pythae runs/pythae_vaegan.npy \
    --out docs/results/generation.json

The runs are trained before, by the commands on the results page; the array comes from
benchmarks/pythae_vaegan.py. Beside the JSON file goes a picture of samples.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from anogen import (
    Images,
    MixtureSampler,
    PriorSampler,
    Run,
    evaluate,
    evaluate_generation,
    measure_samples,
)
from anogen.evaluation.generation import sample_images
from anogen.models.base import Encodes, generative
from anogen.report import figures

SHOWN = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--pythae", type=Path, required=True)
    parser.add_argument("--pythae_epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = Run.open(options.runs[0]).load_data()
    rows: list[dict[str, Any]] = []
    shown = {"test images": data.test.pixels[:SHOWN]}
    for path in options.runs:
        run = Run.open(path)
        model = generative(run.load_model(), f"{path}")
        about = {"name": type(model).__name__, "latent": model.latent,
                 "epochs": run.metrics[-1]["epoch"], "seed": run.config["seed"]}  # fmt: skip
        measured = evaluate(model, data.test, importance_samples=0)
        prior = PriorSampler(model.latent)
        rows.append(about | measured | evaluate_generation(model, data, sampler=prior))
        title = f"{type(model).__name__}, {about['epochs']} epochs"
        shown[title] = sample_images(model, SHOWN, sampler=prior).pixels[:]
        if isinstance(model, Encodes):
            mixture = MixtureSampler.fit(model, data.train)
            rows.append(about | evaluate_generation(model, data, sampler=mixture))
            images = sample_images(model, SHOWN, sampler=mixture)
            shown[f"{title}, mixture"] = images.pixels[:]
    samples = Images(np.load(options.pythae), "pythae")
    rows.append({"name": "pythae's VAEGAN", "version": version("pythae"), "latent": 16, "seed": 0,
                 "epochs": options.pythae_epochs, "sampler": "prior"}
                | measure_samples(samples, data))  # fmt: skip
    shown["pythae's VAEGAN"] = samples.pixels[:SHOWN]
    for row in rows:
        row.pop("kl_per_latent_nats", None)
        print(row["name"], row["sampler"], f"{row['frechet_distance']:.4g}",
              f"{row['class_kl_nats']:.3g}")  # fmt: skip
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    sheet = figures.mosaic(np.stack(list(shown.values())), labels=list(shown))
    figures.save(sheet, options.out.with_name(f"{options.out.stem}_samples.png"))


if __name__ == "__main__":
    main()
