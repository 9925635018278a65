"""Quality at the end of training: as anogen trains, beside plain float32.

    python benchmarks/precision.py --runs runs/precision --out docs/results/precision.json

The paper's VAE, once as `anogen train` does it here (bfloat16 and compiled layers where the machine
has them) and once in float32 with PyTorch's own operations. The same seed means the same first
weights and the same batches. Runs that are there already are gone on with or taken as they are, so
it can be interrupted; the file is written anew after each seed.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from anogen import VAE, Run, evaluate, fit, load_data
from anogen.nets import fused
from anogen.presets import load_preset
from anogen.progress import stage

KINDS = {"as it comes": ("auto", ""), "plain float32": ("float32", "1")}
"""Name → precision, and whether nothing is compiled."""
MEASURED = ("squared_error", "cosine_similarity", "kl_nats", "sharpness_reconstruction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--runs", type=Path, default=Path("runs/precision"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data, preset = load_data(options.data), load_preset("VAE", "paper")
    settings: dict[str, Any] = {k: v for k, v in preset.items() if k != "model"}
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for kind, (precision, off) in KINDS.items():
            path = options.runs / f"{kind.replace(' ', '-')}-{seed}"
            os.environ[fused.OFF] = off
            fused.load_kernels.cache_clear()
            with stage(f"{kind}, seed {seed}"):
                torch.manual_seed(seed)
                model = VAE(data.shape, **preset["model"]["init_args"])
                given: dict[str, Any] = settings | {
                    "epochs": options.epochs,
                    "seed": seed,
                    "precision": precision,
                }
                fit(model, data, path, **given, resume=path.exists())
            run = Run.open(path)
            found = evaluate(run.load_model("last"), data.test, likelihood_images=0)
            rows.append({
                "kind": kind, "seed": seed, "epochs": options.epochs, "data": data.name,
                "precision": run.environment["precision"],
                "compiled_layers": run.environment["compiled_layers"],
            } | {name: found[name] for name in MEASURED})  # fmt: skip
            print({key: rows[-1][key] for key in ("kind", "seed", *MEASURED)}, flush=True)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
