"""Training from the first step to the last, for every model, with nothing lost in between."""

import math
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml

from anogen.checkpoint import replace_durably, save_checkpoint
from anogen.data.batches import Shuffled, batches_per_epoch, in_order
from anogen.data.images import Images, Splits
from anogen.device import Precision, choose_device, choose_precision, memory_advice
from anogen.errors import Interrupted, MachineError, TrainingError, UsageError, unknown_name
from anogen.models.base import GenerativeModel, Losses
from anogen.progress import Progress, say
from anogen.run import Run
from anogen.training.log import MetricsLog, Row, check_tensorboard
from anogen.training.schedule import Schedule, learning_rate_factor
from anogen.training.signals import StopRequest
from anogen.training.state import TrainingState, averaged_copy, describe, plain
from anogen.training.step import LearningRate, make_players, train_step

MAY_CHANGE = {"epochs", "device", "patience", "checkpoint_every_s", "tensorboard"}
"""Settings that a resumed run may have other values of."""


def fit(
    model: GenerativeModel,
    data: Splits,
    run: str | Path,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: LearningRate = 1e-3,
    schedule: Schedule = "constant",
    warmup_steps: int = 0,
    betas: tuple[float, float] = (0.9, 0.999),
    clip_gradient: float | None = None,
    ema_decay: float | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    checkpoint_every_s: float = 60.0,
    tensorboard: bool = False,
    resume: bool = False,
) -> Run:
    """Train a model and write a run folder.

    The order of images and all noise are functions of `seed` and the step, so the same seed on
    the same machine gives the same run, and a resumed run ends where the uninterrupted one ends,
    bit for bit. After every epoch the model is evaluated, in evaluation mode, on the validation
    images and on as many training images. SIGINT and SIGTERM save and stop.

    Args:
        model: what to train; its weights are changed.
        data: `train` is fitted, `validation` chooses the best checkpoint, `test` is not touched.
        run: a new folder, or with `resume` the one to go on with.
        epochs: passes over the training images, in all.
        batch_size: images per step; those left over at the end of an epoch wait for another one.
        learning_rate: Adam's; one number, or one for each player by name.
        schedule: `constant`, or `cosine` down to 0 at the last step.
        warmup_steps: steps over which the learning rate grows from 0.
        betas: Adam's decay rates.
        clip_gradient: largest norm of a player's gradient; default: not clipped.
        ema_decay: where given, a moving average of the weights with this decay is what is
            evaluated and kept, for example 0.999.
        monitor: validation metric by which the best checkpoint is kept, lower is better;
            default: the model's own, if it has one.
        patience: epochs without improvement of `monitor` after which training stops.
        seed: of everything random in training; weights are drawn before, when a model is made.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto` takes bfloat16 for matrix products where the device is fast at it.
        checkpoint_every_s: seconds between checkpoints within an epoch; each epoch ends with one.
        tensorboard: also write TensorBoard event files.
        resume: go on with the run where its last checkpoint stands.

    Returns:
        The run.

    Raises:
        UsageError: settings that make no sense, an existing run without `resume`, or a resumed run
            with other settings than it began with.
        TrainingError: a loss is not finite, or memory ran out.
        MachineError: the folder cannot be written or the checkpoint is damaged.
        Interrupted: a signal; the state was saved.

    Example:
        >>> import tempfile, torch, anogen
        >>> digits = anogen.load_data("digits")
        >>> _ = torch.manual_seed(0)
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> run = anogen.fit(anogen.VAE(digits.shape, latent=2), digits, folder, epochs=1)
        >>> run.metrics[0]["validation_sampled_squared_error"] < 100
        True
    """
    given = dict(locals())
    settings = {
        k: plain(v) for k, v in given.items() if k not in ("model", "data", "run", "resume")
    }
    _check_settings(settings, model, data)
    target = choose_device(device)
    dtype = choose_precision(precision, target)
    config = {"model": _recipe(model), **_source(data), **settings}
    folder = Run.open(run) if resume else Run.vacant(run)
    if resume:
        _refuse_changes(folder, config)
        folder.check_data(data)
        dtype = getattr(torch, folder.environment["precision"])
        _warn_of_differences(folder, target)
    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        memory_advice(f"try batch_size {max(2, batch_size // 2)} instead of {batch_size}"),
        StopRequest() as request,
    ):
        model.to(target, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        fitting = _Fitting(model, data, target, dtype, settings)
        fitting.rehearse()
        if not resume:
            with Run.creating(run) as new:
                _write_start(new, config, _environment(data, target, dtype))
                fitting.save(new)
        with folder.locked():
            if resume:
                fitting.restore(folder)
            fitting.go(folder, request)
    model.eval()
    return folder


class _Fitting:
    """The loop over epochs and steps, with what it needs."""

    def __init__(
        self,
        model: GenerativeModel,
        data: Splits,
        device: torch.device,
        dtype: torch.dtype,
        settings: dict[str, Any],
    ) -> None:
        self.data, self.device, self.dtype, self.settings = data, device, dtype, settings
        self.decay: float | None = settings["ema_decay"]
        self.state = TrainingState(
            model,
            make_players(model, settings["learning_rate"], settings["betas"]),
            averaged_copy(model) if self.decay is not None else None,
        )
        self.monitor: str | None = settings["monitor"] or model.monitor
        per_epoch = batches_per_epoch(len(data.train), settings["batch_size"])
        self.total_steps = settings["epochs"] * per_epoch
        stride = max(1, len(data.train) // len(data.validation))
        self.train_part = data.train[::stride][: len(data.validation)]

    def rehearse(self) -> None:
        """One batch in evaluation mode: what cannot work fails here, before a folder is made."""
        found = _mean_losses(self.state.model, self.data.validation[:2], self.device, self.dtype)
        if self.monitor is None and self.settings["patience"] is not None:
            raise UsageError("patience needs a monitor, and this model has none of its own")
        if self.monitor is not None and self.monitor not in found:
            raise UsageError(f"monitor {self.monitor!r}: this model has {', '.join(found)}")

    def restore(self, run: Run) -> None:
        """Take the place of the last checkpoint, or of the one before where that is damaged."""
        try:
            tensors, state = run.load_state("last")
        except MachineError as error:
            tensors, state = run.load_state("last.previous")
            say(f"{error}; going on with the checkpoint before it")
        self.state.restore(tensors, state)
        counters = self.state.counters
        say(f"{run.path}: going on after epoch {counters.epoch}, step {counters.step}")

    def go(self, run: Run, request: StopRequest) -> None:
        """Train until the epochs are done, patience ends, or a signal comes."""
        counters = self.state.counters
        batches = Shuffled(
            self.data.train, self.settings["batch_size"], self.settings["seed"], self.device
        )
        log = MetricsLog(run, counters.epoch, counters.step, self.settings["tensorboard"])
        try:
            while counters.epoch < self.settings["epochs"] and not self._out_of_patience():
                self._epoch(run, batches, request)
                self._finish_epoch(run, log)
                self._leave_if_asked(run, request)
        finally:
            log.close()

    def _epoch(self, run: Run, batches: Shuffled, request: StopRequest) -> None:
        counters, size = self.state.counters, self.settings["batch_size"]
        title = f"epoch {counters.epoch + 1}/{self.settings['epochs']}"
        total, done = len(batches) * size, counters.batch * size
        last_save = last_time = time.monotonic()
        self.state.model.train()
        sums = _Sums(counters.sums, self.device)
        with Progress(title, total, done=done) as bar:
            for x in batches.epoch(counters.epoch, counters.batch):
                losses = self._step(x)
                sums.add(losses)
                if self.device.type == "cpu" or counters.step % 50 == 0:
                    self._refuse_divergence(run, losses)
                bar.advance(len(x), sums.note())
                now = time.monotonic()
                counters.elapsed_s += now - last_time
                last_time = now
                stop = request.signal_number is not None
                if stop or now - last_save > self.settings["checkpoint_every_s"]:
                    last_save = now
                    counters.sums = sums.values()
                    self.save(run)
                self._leave_if_asked(run, request)
        counters.sums = sums.values()

    def _leave_if_asked(self, run: Run, request: StopRequest) -> None:
        """After a signal, with the state saved just before."""
        if request.signal_number is not None:
            raise Interrupted(
                f"stopped by a signal at step {self.state.counters.step}, saved; go on with "
                f"anogen train --run {run.path} --resume",
                request.signal_number,
            )

    def _step(self, x: torch.Tensor) -> Losses:
        counters, settings = self.state.counters, self.settings
        factor = learning_rate_factor(
            counters.step, self.total_steps, settings["schedule"], settings["warmup_steps"]
        )
        for player in self.state.players:
            player.optimizer.param_groups[0]["lr"] = player.learning_rate * factor
        torch.manual_seed(_noise_seed(settings["seed"], counters.step))
        losses = train_step(
            self.state.model, self.state.players, x, counters.step, self.dtype,
            settings["clip_gradient"],
        )  # fmt: skip
        counters.step += 1
        counters.batch += 1
        if self.decay is not None:
            self.state.average(self.decay)
        return losses

    def _finish_epoch(self, run: Run, log: MetricsLog) -> None:
        counters = self.state.counters
        running = {f"running_{k}": total / n for k, (total, n) in counters.sums.items()}
        parts = {"train": self.train_part, "validation": self.data.validation}
        measured = {
            f"{part}_{name}": value
            for part, images in parts.items()
            for name, value in _mean_losses(
                self.state.evaluated, images, self.device, self.dtype
            ).items()
        }
        self.state.model.train()
        counters.epoch, counters.batch, counters.sums = counters.epoch + 1, 0, {}
        row = {
            "epoch": counters.epoch,
            "step": counters.step,
            "elapsed_s": round(counters.elapsed_s, 3),
            "images_per_s": round(counters.step * self.settings["batch_size"]
                                  / max(counters.elapsed_s, 1e-9), 1),
            **running,
            **measured,
        }  # fmt: skip
        unfit = [name for name, value in row.items() if not math.isfinite(value)]
        if unfit:
            raise self._divergence(run, unfit[0])
        log.write(row)
        self._announce(row)
        if self.monitor is not None:
            self._keep_if_best(run, measured[f"validation_{self.monitor}"])
        self.save(run)

    def _keep_if_best(self, run: Run, value: float) -> None:
        counters = self.state.counters
        if counters.best_value is None or value < counters.best_value:
            counters.best_value, counters.best_epoch = value, counters.epoch
            save_checkpoint(run.checkpoint("best"), self.state.weights(), self.state.description())

    def _announce(self, row: Row) -> None:
        shown = {k: v for k, v in row.items() if k.startswith("validation_")}
        terms = "  ".join(f"{k.removeprefix('validation_')} {v:.3f}" for k, v in shown.items())
        left = (self.settings["epochs"] - row["epoch"]) * row["elapsed_s"] / row["epoch"]
        say(
            f"epoch {row['epoch']}/{self.settings['epochs']}  validation: {terms}  "
            f"({row['images_per_s']:,.0f} images/s, {left:.0f} s left)"
        )

    def _out_of_patience(self) -> bool:
        patience, counters = self.settings["patience"], self.state.counters
        stop = patience is not None and counters.epoch - counters.best_epoch >= patience
        if stop and counters.epoch:
            say(f"stopped: no better {self.monitor} since epoch {counters.best_epoch}")
        return bool(stop and counters.epoch)

    def save(self, run: Run) -> None:
        """Write the checkpoint `last`, if everything in it is finite."""
        if not self.state.is_finite():
            raise self._divergence(run, "a weight")
        save_checkpoint(run.checkpoint("last"), self.state.tensors(), self.state.description())

    def _refuse_divergence(self, run: Run, losses: Losses) -> None:
        for name, value in losses.players.items():
            if not math.isfinite(value.item()):
                raise self._divergence(run, f"the loss of {name}")

    def _divergence(self, run: Run, what: str) -> TrainingError:
        return TrainingError(
            f"{what} is no longer finite at step {self.state.counters.step}; "
            f"{run.checkpoint('last')} keeps the last finite state. Try a smaller learning_rate "
            f"(now {self.settings['learning_rate']}), clip_gradient 1, or precision float32"
        )


class _Sums:
    """Sums over an epoch of the batch means of losses and terms, kept on the device."""

    def __init__(self, start: dict[str, tuple[float, int]], device: torch.device) -> None:
        self._sums = {
            name: torch.tensor(total, dtype=torch.float64, device=device)
            for name, (total, _) in start.items()
        }
        self._counts = {name: count for name, (_, count) in start.items()}
        self._added = 0
        self._note = ""

    def add(self, losses: Losses) -> None:
        means = {f"loss_{name}": value for name, value in losses.players.items()}
        means |= {name: value.mean() for name, value in losses.terms.items()}
        for name, value in means.items():
            before = self._sums.get(name)
            self._sums[name] = value.double() if before is None else before + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._added += 1

    def values(self) -> dict[str, tuple[float, int]]:
        return {name: (total.item(), self._counts[name]) for name, total in self._sums.items()}

    def note(self) -> str:
        """The means so far, made anew every 20 batches because reading them waits for a GPU."""
        if self._added % 20 == 1:
            means = ((name, total / count) for name, (total, count) in self.values().items())
            self._note = "  ".join(f"{name} {value:.3g}" for name, value in means)
        return self._note


@torch.no_grad()
def _mean_losses(
    model: GenerativeModel, images: Images, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Means over images, in evaluation mode, schedules at their end, with fixed noise."""
    model.eval()
    sums: dict[str, float] = {}
    for index, x in enumerate(in_order(images, device)):
        torch.manual_seed(_noise_seed(0, index))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            losses = model.losses(x)
        found = {f"loss_{name}": value * len(x) for name, value in losses.players.items()}
        found |= {name: value.sum() for name, value in losses.terms.items()}
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return {name: value / len(images) for name, value in sums.items()}


def _noise_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _check_settings(settings: dict[str, Any], model: GenerativeModel, data: Splits) -> None:
    rate = settings["learning_rate"]
    positive = {name: settings[name] for name in ("epochs", "batch_size", "checkpoint_every_s")}
    for name, value in [
        *positive.items(),
        *(
            ("learning_rate", value)
            for value in (rate.values() if isinstance(rate, dict) else [rate])
        ),
    ]:
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{name} must be positive, found {value}")
    if settings["schedule"] not in get_args(Schedule):
        raise unknown_name("schedule", settings["schedule"], get_args(Schedule))
    if not all(0 <= beta < 1 for beta in settings["betas"]) or len(settings["betas"]) != 2:
        raise UsageError(f"betas must be two numbers in [0, 1), found {settings['betas']}")
    if settings["warmup_steps"] < 0:
        raise UsageError(f"warmup_steps must not be negative, found {settings['warmup_steps']}")
    if settings["batch_size"] < 2:
        raise UsageError("batch_size must be at least 2, because normalisation needs two images")
    for name in ("clip_gradient", "patience"):
        if settings[name] is not None and not settings[name] > 0:
            raise UsageError(f"{name} must be positive, found {settings[name]}")
    decay = settings["ema_decay"]
    if decay is not None and not 0 < decay < 1:
        raise UsageError(f"ema_decay must lie between 0 and 1, found {decay}")
    if settings["seed"] < 0:
        raise UsageError(f"seed must not be negative, found {settings['seed']}")
    if model.shape != data.shape:
        raise UsageError(f"the model is for images of {model.shape}, the data has {data.shape}")
    if settings["tensorboard"]:
        check_tensorboard()


def _recipe(model: GenerativeModel) -> dict[str, Any]:
    """The model as a configuration; the shape comes from the data."""
    recipe = describe(model)
    recipe["init_args"] = {k: v for k, v in recipe["init_args"].items() if k != "shape"}
    return recipe


def _source(data: Splits) -> dict[str, Any]:
    return dict(data.source) or {"data": None}


def _refuse_changes(run: Run, config: dict[str, Any]) -> None:
    before = run.config
    for key in sorted(set(config) - MAY_CHANGE):
        if before.get(key) != config[key]:
            raise UsageError(
                f"{run.path} was begun with {key} {before.get(key)}, now {config[key]}; a resumed "
                f"run may change only {', '.join(sorted(MAY_CHANGE))}"
            )


def _warn_of_differences(run: Run, device: torch.device) -> None:
    """Say what keeps a resumed run from being equal to the uninterrupted one, bit for bit."""
    before = run.environment
    now = {"threads": torch.get_num_threads(), "device": str(device), "versions": _versions()}
    for name, value in now.items():
        if before[name] != value:
            say(f"{run.path}: {name} was {before[name]}, is {value}; last bits will differ")


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("anogen", "torch", "numpy")}


def _write_start(run: Run, config: dict[str, Any], environment: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    replace_durably(run.path / "config.yaml", text.encode())
    run.write_json("environment.json", environment)


def _environment(data: Splits, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Where a run ran; with config.yaml, all that its result depends on."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _versions(),
        "device": str(device),
        "device_name": name,
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "data": {"name": data.name, "shape": list(data.shape)}
        | {part: len(images) for part, images in parts.items()}
        | {f"{part}_sha256": images.sha256 for part, images in parts.items()},
    }
