"""What a run writes about itself at its start, and what a resumed run is held to."""

import os
import platform
import time
from importlib.metadata import version
from typing import Any

import torch
import yaml

from anogen.data.splits import Splits
from anogen.device import device_name
from anogen.durable import replace_durably
from anogen.errors import UsageError
from anogen.models.base import Model
from anogen.nets.fused import kernels
from anogen.progress import say
from anogen.run import Run
from anogen.training.settings import MAY_CHANGE
from anogen.training.state import describe


def recipe(model: Model) -> dict[str, Any]:
    """The model as a configuration; the shape comes from the data."""
    recipe = describe(model)
    recipe["init_args"] = {k: v for k, v in recipe["init_args"].items() if k != "shape"}
    return recipe


def source(data: Splits) -> dict[str, Any]:
    """How to load the data again; `data: null` for arrays in memory."""
    return dict(data.source) or {"data": None}


def refuse_changes(run: Run, config: dict[str, Any]) -> None:
    """Raise a `UsageError` if a resumed run has other settings than it began with."""
    before, done = run.config, len(run.metrics)
    if config["epochs"] < done:
        raise UsageError(
            f"{run.path} has {done} epochs already, found epochs {config['epochs']}; give more, or "
            "another run"
        )
    for key in sorted(set(config) - MAY_CHANGE):
        if before.get(key, config[key]) != config[key]:
            raise UsageError(
                f"{run.path} was begun with {key} {before.get(key)}, now {config[key]}; a resumed "
                f"run may change only {', '.join(sorted(MAY_CHANGE))}"
            )


def keep_changes(run: Run, config: dict[str, Any]) -> None:
    """Record in `config.yaml` the settings that a resumed run changes."""
    before = run.config
    changed = {key: config[key] for key in config if before.get(key) != config[key]}
    if "epochs" in changed and config["schedule"] == "cosine":
        say(
            f"warning: epochs {before['epochs']} → {config['epochs']}: the cosine schedule is that "
            "of the new number, so the learning rate jumps up again"
        )
    if changed:
        _write_config(run, before | changed)


def warn_of_differences(run: Run, device: torch.device, threads: int | None) -> None:
    """Say what keeps a resumed run from being equal to the uninterrupted one, bit for bit."""
    before = run.environment
    now = {
        "threads": threads, "device": str(device), "versions": _versions(),
        "compiled_layers": _compiled_layers(device),
    }  # fmt: skip
    for name, value in now.items():
        if before.get(name, value) != value:
            say(f"{run.path}: {name} was {before[name]}, is {value}; last bits will differ")


def _compiled_layers(device: torch.device) -> bool:
    """Whether nets with batch normalisation use compiled layers there."""
    return device.type == "cpu" and kernels() is not None


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("anogen", "torch", "numpy")}


def write_start(run: Run, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Write `config.yaml` and `environment.json`."""
    _write_config(run, config)
    run.write_json("environment.json", environment)


def _write_config(run: Run, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    replace_durably(run.path / "config.yaml", text.encode())


def environment(data: Splits, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Where a run ran; with config.yaml, all that its result depends on."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _versions(),
        "device": str(device),
        "device_name": device_name(device),
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "compiled_layers": _compiled_layers(device),
        "cores": os.cpu_count(),
        "data": {"name": data.name, "shape": list(data.shape), "classes": list(data.train.classes)}
        | {part: len(images) for part, images in parts.items()}
        | {f"{part}_sha256": images.sha256 for part, images in parts.items()},
    }
