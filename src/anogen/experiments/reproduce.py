"""The whole paper: train its systems, measure them, detect in both directions, judge its claims."""

import json
import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from anogen.checkpoint import hash_of_tensors
from anogen.data.catalog import load_data
from anogen.data.splits import Splits
from anogen.detection.calibration import allowed
from anogen.detection.detector import DEFINITIONS
from anogen.detection.scores.fused import statistics
from anogen.device import choose_device, own_randomness
from anogen.durable import make_folder, replace_durably
from anogen.errors import DataError, Interrupted, MachineError, UsageError, unknown_name
from anogen.experiments.claims import judge_claims
from anogen.experiments.measure import (
    DETECTION_SCORES,
    FALSE_POSITIVE_RATE,
    detect,
    measure,
)
from anogen.experiments.reproduce_page import write_report
from anogen.experiments.stages import Stages
from anogen.experiments.summary import detection_rows, over_seeds
from anogen.experiments.systems import SYSTEMS, System
from anogen.models import find_model
from anogen.models.base import Encodes, Model, generative
from anogen.presets import load_preset
from anogen.progress import say
from anogen.run import Run
from anogen.training.fit import fit
from anogen.training.record import MAY_CHANGE, recipe, source

FORMAT = 1
"""Of the stages' results; another number makes them anew."""
EPOCHS, QUICK_EPOCHS = 50, 3
QUICK_LIMIT = 6_000
SAMPLES = 10_000
BATCH_SIZE = 32


@dataclass(frozen=True)
class _Job:
    """What all stages share."""

    folder: Path
    stages: Stages
    inside: Splits
    outside: Splits
    epochs: int
    data_dir: str | None
    device: str

    def splits(self, system: System) -> tuple[Splits, Splits]:
        """What a system learns, and what it has never seen."""
        if system.reverse:
            return self.outside, self.inside
        return self.inside, self.outside

    def path(self, name: str, seed: int) -> Path:
        """The run's folder."""
        return self.folder / "runs" / f"{name}-{seed}"


def reproduce(
    out: str | Path | None = None,
    *,
    quick: bool = False,
    seeds: int = 1,
    epochs: int | None = None,
    data: str = "auto",
    against: str = "auto",
    systems: Sequence[str] = tuple(SYSTEMS),
    limit: int | None = None,
    data_dir: str | None = None,
    device: str = "auto",
) -> Path:
    """Train the paper's systems and a wider table, measure all, and write one page.

    Every stage is kept in the folder and done again only where its inputs have changed, so the same
    call goes on after an interruption, and a call with more seeds adds to what is there. A stage
    that fails leaves the others alone; the page says what is missing.

    Args:
        out: a folder, which gets `report.html`, `results.json`, `figures/`, `stages/`, `runs/`; by
            default `results`, with `quick` `results-quick`.
        quick: minutes instead of hours: 3 epochs on 6,000 training images.
        seeds: trainings of each system, with the seeds 0, 1, …; intervals need two or more.
        epochs: of the paper's systems, by default 50; the others have a fifth.
        data: what is in distribution; `auto` takes MNIST where it can be had, else digits.
        against: what is out of distribution; `auto` takes Fashion-MNIST beside MNIST, else the
            inverted images of `data`.
        systems: names in `SYSTEMS`, whose runs to make; those that the folder has stay.
        limit: at most so many training images, and as large a share of the others.
        data_dir: where data sets lie.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The path of the page.

    Raises:
        UsageError: an unknown system, numbers that make no sense, too few images to calibrate on,
            or a folder with runs of other settings.
        AnogenError: a stage failed; it is the first such error, raised after the page was written.
    """
    for name in systems:
        if name not in SYSTEMS:
            raise unknown_name("system", name, SYSTEMS)
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, found {seeds}")
    if epochs is not None and epochs < 1:
        raise UsageError(f"epochs must be at least 1, found {epochs}")
    if quick:
        epochs, limit = epochs or QUICK_EPOCHS, limit or QUICK_LIMIT
    folder = Path(out or ("results-quick" if quick else "results"))

    def wanted(name: str, seed: int) -> bool:
        """Whether it was asked for, or an earlier call has measured it."""
        kept = folder / "stages" / f"measure-{name}-{seed}.json"
        return name in systems or kept.exists()

    shown = [name for name in SYSTEMS if wanted(name, 0)]
    kept = [int(path.stem.rsplit("-", 1)[1]) for path in folder.glob("stages/measure-*-*.json")]
    seeds = max([seeds, *(seed + 1 for seed in kept)])
    for part in ("runs", "figures", "stages"):
        make_folder(folder / part)
    inside = load_data(data, data_dir=data_dir, limit=limit)
    outside = _against(against, inside, data_dir, limit)
    if outside.name == inside.name:
        raise UsageError(f"data and against are both called {inside.name}; give other data")
    job = _Job(folder, Stages(folder), inside, outside, epochs or EPOCHS, data_dir, device)
    _refuse_unfit(job, shown, seeds)
    measured: dict[str, list[dict[str, Any]]] = {}
    detected: dict[str, list[dict[str, Any]]] = {}
    started = time.monotonic()
    work = [(name, seed) for seed in range(seeds) for name in shown if wanted(name, seed)]
    for number, (name, seed) in enumerate(work, 1):
        say(f"{number} of {len(work)}: {SYSTEMS[name].title}, seed {seed}")
        try:
            _reproduce_one(job, name, seed, measured, detected)
        except Interrupted as stop:
            raise Interrupted(
                "stopped by a signal, saved; the same command goes on", stop.signal_number
            ) from stop
        except KeyboardInterrupt:
            say("the same command goes on with what is not done")
            raise
    results: dict[str, Any] = {
        "settings": {
            "quick": quick, "seeds": seeds, "epochs": job.epochs, "limit": limit,
            "data": inside.name, "against": outside.name, "systems": shown,
            "sources": [splits.source["data"] for splits in (inside, outside)],
        },
        "environment": _environment(job),
        "systems": {name: _about(job, name, seeds) for name in shown},
        "measures": {name: over_seeds(rows, seeds) for name, rows in measured.items()},
        "detection": {name: detection_rows(rows, seeds) for name, rows in detected.items()},
        "seconds": job.stages.seconds,
        "missing": {name: str(error) for name, error in job.stages.failures.items()},
    }  # fmt: skip
    results["claims"] = [claim.as_json() for claim in judge_claims(results)]
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    replace_durably(folder / "results.json", text.encode())
    page = write_report(results, job.stages.pictures, folder)
    took = f"{time.monotonic() - started:.0f} s in this call"
    say(f"{len(job.stages.failures)} stages failed; {took}")
    for error in job.stages.failures.values():
        say(f"the page says what is missing: {page}")
        raise error
    return page


def _reproduce_one(
    job: _Job,
    name: str,
    seed: int,
    measured: dict[str, list[dict[str, Any]]],
    detected: dict[str, list[dict[str, Any]]],
) -> None:
    """Train, measure and judge one system with one seed."""
    system = SYSTEMS[name]
    run = job.stages.attempt(f"train-{name}-{seed}", lambda: _train(job, name, seed))
    model = job.stages.attempt(f"load-{name}-{seed}", run.load_model) if run else None
    if run is None or model is None:
        return
    job.stages.seconds[f"train-{name}-{seed}"] = run.metrics[-1]["elapsed_s"]
    own, other = job.splits(system)
    inputs = {
        "format": FORMAT, "version": version("anogen"), "seed": seed, "samples": SAMPLES,
        "weights": hash_of_tensors(model.state_dict()), "epochs": len(run.metrics),
        "data": [part.sha256 for part in (own.train, own.validation, own.test)],
    }  # fmt: skip
    measures = job.stages.do(
        f"measure-{name}-{seed}",
        inputs,
        lambda: measure(run, generative(model, name), own, seed, job.device, SAMPLES),
    )
    if measures is not None:
        measured.setdefault(name, []).append({"seed": seed, **measures})
    if not system.detects:
        return
    against = {
        "against": other.foreign.sha256, "scores": list(DETECTION_SCORES),
        "definitions": DEFINITIONS, "statistics": statistics(model),
    }  # fmt: skip
    judged = job.stages.do(
        f"detect-{name}-{seed}", inputs | against,
        lambda: detect(run, generative(model, name), own, other.foreign, job.device),
    )  # fmt: skip
    if judged is not None:
        detected.setdefault(name, []).append({"seed": seed, **judged})


def _against(name: str, inside: Splits, data_dir: str | None, limit: int | None) -> Splits:
    """The data that is out of distribution, of the same shape."""
    if name == "auto" and inside.name == "mnist":
        try:
            return load_data("fashion-mnist", data_dir=data_dir, limit=limit)
        except (DataError, MachineError) as error:
            say(f"using inverted images instead of Fashion-MNIST: {str(error).split(' Tried ')[0]}")
    if name == "auto":
        name = f"{inside.source['data']}+inversion"
    images = load_data(name, data_dir=data_dir, limit=limit)
    if images.shape != inside.shape:
        raise UsageError(
            f"against {name}: images of {images.shape}, {inside.name} has {inside.shape}"
        )
    return images


def _refuse_unfit(job: _Job, systems: Sequence[str], seeds: int) -> None:
    """Refuse, before anything is trained, what could not be finished."""
    for name in systems:
        own, _ = job.splits(SYSTEMS[name])
        if SYSTEMS[name].detects:
            allowed(FALSE_POSITIVE_RATE, len(own.validation))
        for seed in range(seeds):
            path = job.path(name, seed)
            if not path.exists():
                continue
            before = Run.open(path).config
            for key, value in _plan(job, name, seed)[1].items():
                if before.get(key) != value and key not in MAY_CHANGE - {"epochs"}:
                    raise UsageError(
                        f"{path} was begun with {key} {before.get(key)}, now {value}; choose "
                        "another folder with out"
                    )
            Run.open(path).check_data(own)


def _plan(job: _Job, name: str, seed: int) -> tuple[Model, dict[str, Any]]:
    """A new model, and what `config.yaml` of its run is to have, as far as it is not default."""
    system = SYSTEMS[name]
    settings = load_preset(system.model, system.preset)
    options = settings.pop("model")["init_args"] | system.changes
    own, _ = job.splits(system)
    settings |= {"epochs": system.epochs(job.epochs), "seed": seed}
    if system.paper:
        settings["batch_size"] = BATCH_SIZE
    with own_randomness():
        torch.manual_seed(seed)
        model = find_model(system.model)(own.shape, **options)
    where = {key: value for key, value in source(own).items() if key != "data_dir"}
    return model, {"model": recipe(model), **where, **settings}


def _train(job: _Job, name: str, seed: int) -> Run:
    """The finished run: trained now, resumed, or finished before."""
    system, path = SYSTEMS[name], job.path(name, seed)
    own, _ = job.splits(system)
    model, plan = _plan(job, name, seed)
    if path.exists() and _epochs_done(Run.open(path)) == plan["epochs"]:
        run = Run.open(path)
        run.check_data(own)
        return run
    say(f"training, {plan['epochs']} epochs")
    settings = {key: value for key, value in plan.items() if key not in ("model", *own.source)}
    settings["betas"] = tuple(settings.get("betas", (0.9, 0.999)))
    return fit(model, own, path, **settings, device=job.device, resume=path.exists())


def _epochs_done(run: Run) -> int:
    """After which its last checkpoint was kept: a row of metrics is written before it."""
    try:
        return run.epoch_of("last")
    except MachineError:
        return 0


def _about(job: _Job, name: str, seeds: int) -> dict[str, Any]:
    """What a system is, where its runs are, and the commands that make its numbers again."""
    system = SYSTEMS[name]
    own, other = job.splits(system)
    runs = [job.path(name, seed) for seed in range(seeds) if job.path(name, seed).exists()]
    first = shlex.quote(str(job.path(name, 0)))
    commands = [f"anogen train --config {first}/config.yaml --run NEW_RUN"]
    evaluated = (
        f"anogen evaluate NEW_RUN --importance_samples 0 --samples {min(SAMPLES, len(own.test))}"
    )
    commands.append(evaluated)
    if issubclass(find_model(system.model), Encodes):
        commands.append(f"{evaluated} --sampler mixture")
    if system.detects:
        named = shlex.quote(str(other.source["data"]))
        commands.append(f"anogen detect NEW_RUN --out {named} --score all")
    return {
        "title": system.title, "why": system.why, "model": system.model, "preset": system.preset,
        "changes": system.changes, "paper": system.paper, "data": own.name,
        "epochs": system.epochs(job.epochs), "runs": [str(run) for run in runs],
        "trained": [len(Run(run).metrics) for run in runs], "commands": commands,
    }  # fmt: skip


def _environment(job: _Job) -> dict[str, Any]:
    device = choose_device(job.device)
    return {
        "anogen": version("anogen"), "torch": torch.__version__,
        "python": platform.python_version(), "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "device": str(device),
        "data": {
            splits.name: {
                part: {"images": len(images), "sha256": images.sha256}
                for part, images in (("train", splits.train), ("validation", splits.validation),
                                     ("test", splits.test))
            }
            for splits in (job.inside, job.outside)
        },
    }  # fmt: skip
