"""β-VAE, capacity and β-TCVAE beside the VAE, on shapes whose factors are known.

    python benchmarks/disentanglement.py --choose --out docs/results/disentanglement_choice.json
    python benchmarks/disentanglement.py --out docs/results/disentanglement.json

20,000 coloured shapes of 32×32 are trained on, 10 latents, 16 filters at full size, cross-entropy.
The scores are of the posterior means of 10,000 other shapes. `--choose` trains every weight with a
seed of its own; what the second command trains with three other seeds is the best of each kind by
the mutual-information gap there.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anogen
from anogen import VAE, load_data
from anogen.data.batches import in_order
from anogen.data.shapes import FACTORS, draw_shapes
from anogen.evaluation.disentanglement import disentanglement

LATENT, WIDTH, EPOCHS, MEASURED = 10, 16, 12, 10_000
CHOICE_SEED, TEST_SEED = 100, 2
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "VAE": [{}],
    "β-VAE": [{"beta": weight} for weight in (2.0, 4.0, 8.0, 16.0)],
    "capacity": [
        {"beta": 50.0, "capacity": nats, "capacity_steps": 4000} for nats in (12.0, 18.0, 25.0)
    ],
    "β-TCVAE": [{"total_correlation": weight} for weight in (4.0, 8.0, 16.0, 32.0)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--choice", type=Path, default=Path("docs/results/disentanglement_choice.json")
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    kinds = CANDIDATES if options.choose else chosen(options.choice)
    seeds = [CHOICE_SEED] if options.choose else range(options.seeds)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for kind, several in kinds.items():
            for arguments in several:
                about = {"kind": kind, "arguments": arguments, "seed": seed, "epochs": EPOCHS}
                rows.append(about | measured(arguments, seed))
                print(json.dumps(rows[-1]), flush=True)
                options.out.write_text(json.dumps(rows, indent=1) + "\n")


def chosen(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The arguments of each kind with the largest gap."""
    rows = json.loads(path.read_text("utf-8"))
    best: dict[str, list[dict[str, Any]]] = {}
    for kind in CANDIDATES:
        gaps = {row["mutual_information_gap"]: row for row in rows if row["kind"] == kind}
        best[kind] = [gaps[max(gaps)]["arguments"]]
    return best


def measured(arguments: dict[str, Any], seed: int) -> dict[str, float]:
    data = load_data("shapes")
    torch.manual_seed(seed)
    model = VAE(data.shape, LATENT, likelihood="bernoulli", width=WIDTH, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        run = anogen.fit(
            model, data, Path(folder) / "run", epochs=EPOCHS, seed=seed, fit_sampler=False,
            learning_rate=1e-3, schedule="cosine", threads=1,
        )  # fmt: skip
        model = run.load_model("last")
    images, factors = draw_shapes(MEASURED, TEST_SEED)
    assert isinstance(model, VAE)
    with torch.inference_mode():
        means = [model.posterior_mean(x) for x, _ in in_order(images, torch.device("cpu"))]
        kl = torch.cat([model.kl(x) for x, _ in in_order(images, torch.device("cpu"))]).mean(0)
        error = [
            (x - model.reconstruct(x)).square().sum((1, 2, 3))
            for x, _ in in_order(images, torch.device("cpu"))
        ]
    codes = torch.cat(means).double().numpy()
    scores = disentanglement(codes, factors, categorical=(FACTORS.index("shape"),))
    return scores | {
        "squared_error": float(torch.cat(error).mean()),
        "kl_nats": float(kl.sum()),
        "active_units": int(np.count_nonzero(kl.numpy() > 0.01)),
    }


if __name__ == "__main__":
    main()
