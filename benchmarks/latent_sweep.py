"""The paper's VAE at several latent sizes: a table and a picture in docs/results.

python benchmarks/latent_sweep.py --runs runs/sweep

Runs that are there already are gone on with or taken as they are, so it can be interrupted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from anogen import VAE, Run, evaluate, fit, load_data
from anogen.progress import stage
from anogen.report.figures import COLOURS, DOTS_PER_INCH, save

LATENTS = (2, 8, 16, 32, 64)
SETTINGS: dict[str, Any] = {"epochs": 10, "batch_size": 32, "learning_rate": 5e-4}
COLUMNS = ("squared_error", "cosine_similarity", "kl_nats", "active_units", "elbo_nats",
           "sharpness_reconstruction", "sharpness_samples")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--runs", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--latents", type=int, nargs="+", default=LATENTS)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    data = load_data(options.data)
    results: list[dict[str, Any]] = []
    for latent in options.latents:
        path = options.runs / f"latent-{latent}"
        with stage(f"latent {latent}"):
            torch.manual_seed(0)
            fit(VAE(data.shape, latent), data, path, **SETTINGS, resume=path.exists())
        results.append(evaluate(Run.open(path).load_model("last"), data.test, likelihood_images=0))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latent_sweep.json").write_text(json.dumps(results, indent=1) + "\n")
    save(draw(results), options.out / "latent_sweep.png")
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = ["| latent | " + " | ".join(COLUMNS) + " |", "| ---: |" + " ---: |" * len(COLUMNS)]
    for result in results:
        cells = (_cell(result, name) for name in COLUMNS)
        lines.append(f"| {result['latent']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(result: dict[str, Any], name: str) -> str:
    if f"{name}_low" not in result:
        return str(result[name])
    half = (result[f"{name}_high"] - result[f"{name}_low"]) / 2
    return f"{result[name]:.4g} ± {half:.2g}"


def draw(results: list[dict[str, Any]]) -> Figure:
    """Squared error, cosine similarity and KL against the latent size."""
    figure = Figure((9, 3), DOTS_PER_INCH, layout="constrained")
    latents = [result["latent"] for result in results]
    titles = ("squared error per image", "cosine similarity", "KL, nats per image")
    for index, (name, title) in enumerate(zip(COLUMNS, titles, strict=False)):
        axes = figure.add_subplot(1, 3, index + 1)
        axes.plot(latents, [result[name] for result in results], "o-", color=COLOURS[index])
        axes.set(xscale="log", xlabel="latent size", title=title)
        axes.set_xticks(latents, [str(latent) for latent in latents])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
