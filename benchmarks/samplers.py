"""What latents are best drawn from, chosen on validation images: prior, mixtures, flows.

    python benchmarks/samplers.py runs/vae runs/vaegan --out docs/results/samplers.json

The runs are of MNIST, without classes. Each sampler is fitted to 20,000 encoded training images,
mixtures once to the means of their posteriors and once to draws from them, and 5,000 samples are
compared with the validation images. Beside them stand decoded draws from the posteriors of training
images, and what the choice gives on test images, with 10,000 samples and three seeds of its fit.
`spline flow` is a neural spline flow (Durkan et al. 2019) of the package zuko, which this script
alone needs.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from anogen import MixtureSampler, PriorSampler, Run, Splits, evaluate_generation
from anogen.models.base import GenerativeModel, Sampler, generative
from anogen.models.encoding import Encoded, encoded
from flow_matching import FlowMatchingSampler

MEASURES = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage",
            "class_kl_nats", "classes_covered", "nearest_train_distance")  # fmt: skip
COMPONENTS = (10, 30, 100, 300)
FLOW_STEPS = 3_000
SEEDS = 3
SAME = ("model", "images", "sampler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--only", default="", help="samplers whose name begins so")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.only and options.out.exists():
        rows = json.loads(options.out.read_text("utf-8"))
    for path in options.runs:
        run = Run.open(path)
        model, data = generative(run.load_model(), f"{path}"), run.load_data()
        about = {"model": type(model).__name__, "preset": "recommended", "latent": model.latent,
                 "epochs": run.metrics[-1]["epoch"]}  # fmt: skip
        chosen_on = Splits(data.train, data.validation, data.validation)
        for name, make in candidates(model, data).items():
            if not name.startswith(options.only):
                continue
            start = time.perf_counter()
            sampler = make()
            seconds = round(time.perf_counter() - start, 1)
            row = about | {"images": "validation", "sampler": name, "fit_s": seconds}
            row |= measured(model, chosen_on, sampler, 5_000)
            print(json.dumps(row), flush=True)
            same = [kept for kept in rows if all(kept.get(key) == row[key] for key in SAME)]
            for kept in same:
                kept.update(row)
            rows += [] if same else [row]
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
        if options.only:
            continue
        for seed in range(SEEDS):
            sampler = MixtureSampler.fit(model, data.train, seed=seed)
            row = about | {"images": "test", "sampler": sampler.name, "seed": seed}
            rows.append(row | measured(model, data, sampler, 10_000))
            print(json.dumps(rows[-1]), flush=True)
        prior = about | {"images": "test", "sampler": "prior"}
        rows.append(prior | measured(model, data, PriorSampler(model.latent), 10_000))
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


def measured(
    model: GenerativeModel, data: Splits, sampler: Sampler, samples: int
) -> dict[str, float]:
    result = evaluate_generation(model, data, samples=samples, sampler=sampler)
    return {key: result[key] for name in MEASURES for key in (name, f"{name}_floor")}


def candidates(model: GenerativeModel, data: Splits) -> dict[str, Callable[[], Sampler]]:
    torch.manual_seed(0)
    latents = encoded(model, data.train, 20_000)
    drawn, classes = latents.drawn(), latents.classes
    made: dict[str, Callable[[], Sampler]] = {
        "prior": lambda: PriorSampler(model.latent),
        "posteriors of training images": lambda: Posteriors(latents),
        "flow matching": lambda: FlowMatchingSampler.fit(latents, FLOW_STEPS),
        "spline flow": lambda: SplineFlow.fit(drawn),
    }
    for count in COMPONENTS:
        for title, z in (("", drawn), (", of means", latents.means)):
            made[f"mixture of {count}{title}"] = lambda count=count, z=z: MixtureSampler.of_latents(
                z, classes, count
            )
    return made


@dataclass(frozen=True)
class Posteriors:
    """Draws from the posteriors of training images: what a sampler tries to be like."""

    encoded: Encoded
    name: ClassVar[str] = "posteriors"

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        del condition
        rows = torch.randint(len(self.encoded.means), (count,), generator=generator)
        noise = torch.randn(count, self.encoded.means.shape[1], generator=generator)
        return self.encoded.means[rows] + self.encoded.scales[rows] * noise


@dataclass(frozen=True)
class SplineFlow:
    """zuko's neural spline flow, as it comes, trained by maximum likelihood."""

    flow: Any
    mean: Tensor
    scale: Tensor
    name: ClassVar[str] = "spline flow"

    @classmethod
    def fit(cls, z: Tensor) -> "SplineFlow":
        import zuko  # pyright: ignore[reportMissingImports]

        torch.manual_seed(0)
        mean, scale = z.mean(0), z.std(0)
        flow = zuko.flows.NSF(z.shape[1], transforms=3, hidden_features=(128, 128))
        optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FLOW_STEPS)
        for _ in range(FLOW_STEPS):
            rows = torch.randint(len(z), (256,))
            loss = -flow().log_prob((z[rows] - mean) / scale).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return cls(flow.eval(), mean, scale)

    @torch.inference_mode()
    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        del condition
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            z = self.flow().sample((count,))
        return self.mean + self.scale * z


if __name__ == "__main__":
    main()
