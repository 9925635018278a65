r"""The quality of samples: our runs and pythae's VAEGAN, measured alike, in one file.

python benchmarks/generation.py runs/vae runs/vaegan runs/gan --pythae runs/pythae_vaegan.npy \
    --out docs/results/generation.json

The runs are trained before, by the commands on the results page; the array comes from
benchmarks/pythae_vaegan.py.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from anogen import Images, MixtureSampler, Run, evaluate, evaluate_generation, measure_samples
from anogen.models.base import Encodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--pythae", type=Path, default=None)
    parser.add_argument("--pythae_epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = Run.open(options.runs[0]).load_data()
    rows: list[dict[str, Any]] = []
    for path in options.runs:
        run = Run.open(path)
        model = run.load_model()
        about = {"name": type(model).__name__, "run": run.name, "latent": model.latent,
                 "epochs": run.metrics[-1]["epoch"], "seed": run.config["seed"]}  # fmt: skip
        measured = evaluate(model, data.test, importance_samples=0)
        rows.append(about | measured | evaluate_generation(model, data))
        if isinstance(model, Encodes):
            mixture = MixtureSampler(model, data.train)
            rows.append(about | evaluate_generation(model, data, sampler=mixture))
    if options.pythae:
        samples = Images(np.load(options.pythae), "pythae")
        rows.append({"name": "pythae's VAEGAN", "latent": 16, "epochs": options.pythae_epochs,
                     "seed": 0, "sampler": "prior"} | measure_samples(samples, data))  # fmt: skip
    for row in rows:
        row.pop("kl_per_latent_nats", None)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(row["name"], row["sampler"], f"{row['frechet_distance']:.4g}",
              f"{row['class_kl_nats']:.3g}")  # fmt: skip


if __name__ == "__main__":
    main()
