"""How the presets of GAN, StyleGAN and VAE-GAN were chosen: short trainings, on validation images.

    python benchmarks/games.py --out docs/results/games.json
    python benchmarks/games.py --only StyleGAN --out docs/results/games.json

20,000 images of MNIST, 3 epochs, batches of 32, a cosine, averaged weights, one thread, seed 0;
5,000 samples from the prior are compared with the validation images, in the features of the
classifier of the whole set. Rows that are there already are left; several processes may share the
work.
"""

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout

import anogen
from anogen import PriorSampler, Splits, evaluate_generation, load_data
from anogen.models.base import generative

IMAGES, EPOCHS, SAMPLES = 20_000, 3, 5_000
SETTINGS: dict[str, Any] = {
    "epochs": EPOCHS, "batch_size": 32, "schedule": "cosine", "betas": (0.5, 0.99),
    "ema_decay": 0.999, "threads": 1, "fit_sampler": False,
}  # fmt: skip
STYLE: dict[str, Any] = {
    "latent": 64, "mixing": 0.5, "path_length": 0.0, "r1": 1.0, "r2": 1.0,
    "learning_rate": 5e-3, "betas": (0.0, 0.99),
}  # fmt: skip
PLAIN: dict[str, Any] = {"latent": 64, "r1": 0.1, "learning_rate": 1e-3}
VAEGAN: dict[str, Any] = {"latent": 16, "gamma": 1.0, "r1": 0.1, "learning_rate": 1e-3}
RELATIVISTIC = {"loss": "relativistic"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "StyleGAN": ("StyleGAN", STYLE),
    "StyleGAN, residual discriminator": ("StyleGAN", STYLE | {"residual": True}),
    "StyleGAN, learning rate 2e-3": ("StyleGAN", STYLE | {"learning_rate": 2e-3}),
    "StyleGAN, learning rate 1e-2": ("StyleGAN", STYLE | {"learning_rate": 1e-2}),
    "StyleGAN, R1 and R2 0.1": ("StyleGAN", STYLE | {"r1": 0.1, "r2": 0.1}),
    "StyleGAN, R1 and R2 3": ("StyleGAN", STYLE | {"r1": 3.0, "r2": 3.0}),
    "StyleGAN, non-saturating with R1": (
        "StyleGAN", STYLE | {"loss": "non_saturating", "r2": 0.0}
    ),
    "StyleGAN, no mixing": ("StyleGAN", STYLE | {"mixing": 0.0}),
    "StyleGAN, 16 filters": ("StyleGAN", STYLE | {"width": 16}),
    "StyleGAN, adaptive augmentation": ("StyleGAN", STYLE | {"ada": 0.6}),
    "GAN": ("GAN", PLAIN),
    "GAN, learning rate 2e-3": ("GAN", PLAIN | {"learning_rate": 2e-3}),
    "GAN, R1 1": ("GAN", PLAIN | {"r1": 1.0}),
    "GAN, relativistic with R1 and R2": ("GAN", PLAIN | RELATIVISTIC | {"r2": 0.1}),
    "GAN, relativistic, learning rate 2e-3": (
        "GAN", PLAIN | RELATIVISTIC | {"r2": 0.1, "learning_rate": 2e-3}
    ),
    "GAN, hinge, learning rate 2e-3": ("GAN", PLAIN | {"loss": "hinge", "learning_rate": 2e-3}),
    "VAEGAN": ("VAEGAN", VAEGAN),
    "VAEGAN, β 3": ("VAEGAN", VAEGAN | {"beta": 3.0}),
    "VAEGAN, γ 0.3": ("VAEGAN", VAEGAN | {"gamma": 0.3}),
    "VAEGAN, γ 0.1": ("VAEGAN", VAEGAN | {"gamma": 0.1}),
    "VAEGAN, γ 0.3, β 3": ("VAEGAN", VAEGAN | {"gamma": 0.3, "beta": 3.0}),
    "VAEGAN, γ 0.3, learning rate 2e-3": (
        "VAEGAN", VAEGAN | {"gamma": 0.3, "learning_rate": 2e-3}
    ),
    "VAEGAN, feature layer 1": ("VAEGAN", VAEGAN | {"feature_layer": 1}),
}  # fmt: skip
OF_TRAINING = ("learning_rate", "betas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="variants whose name begins so")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name, (kind, arguments) in VARIANTS.items():
        mine = lock(f"{options.out.name}.{position({'name': name})}")
        if name.startswith(options.only) and not is_there(options.out, name):
            with contextlib.suppress(Timeout), mine.acquire(timeout=0):  # else another is at it
                keep(options.out, {"name": name} | measured(kind, arguments))


def is_there(out: Path, name: str) -> bool:
    return any(row["name"] == name for row in read(out))


def lock(name: str) -> BaseFileLock:
    return FileLock(Path(tempfile.gettempdir()) / f"anogen-{name}.lock")


def read(out: Path) -> list[dict[str, Any]]:
    return json.loads(out.read_text("utf-8")) if out.exists() else []


def position(row: dict[str, Any]) -> int:
    return list(VARIANTS).index(row["name"])


def keep(out: Path, row: dict[str, Any]) -> None:
    with lock(out.name):
        rows = sorted([*read(out), row], key=position)
        out.write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps(row), flush=True)


def measured(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    data, whole = load_data("mnist", limit=IMAGES), load_data("mnist")
    torch.manual_seed(0)
    own = {key: value for key, value in arguments.items() if key not in OF_TRAINING}
    rest = {key: value for key, value in arguments.items() if key in OF_TRAINING}
    model = getattr(anogen, kind)(data.shape, **own)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = anogen.fit(model, data, Path(folder) / "run", **(SETTINGS | rest))
        seconds = time.perf_counter() - start
        model, last = generative(run.load_model("last"), "games"), run.metrics[-1]
    judged = Splits(whole.train, whole.validation, whole.validation)
    result = evaluate_generation(
        model, judged, samples=SAMPLES, sampler=PriorSampler(model.latent), device="cpu"
    )
    wanted = ("frechet_distance", "precision", "recall", "coverage", "class_kl_nats")
    row = {
        "seconds": round(seconds),
        "squared_error": last.get("validation_sampled_squared_error"),
    }
    return row | {name: result[name] for name in wanted} | {
        "frechet_distance_floor": result["frechet_distance_floor"]
    }  # fmt: skip


if __name__ == "__main__":
    main()
