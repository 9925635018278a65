"""Training from the first step to the last, for every model, with nothing lost in between."""

from pathlib import Path
from typing import Any, get_args

import torch

from anogen.data.images import Splits
from anogen.device import (
    Precision,
    choose_device,
    choose_precision,
    memory_advice,
    own_randomness,
)
from anogen.errors import (
    MachineError,
    UsageError,
    checked_seed,
    finite_number,
    unknown_name,
    whole_number,
)
from anogen.models.base import GenerativeModel
from anogen.progress import say
from anogen.run import Run
from anogen.training.log import check_tensorboard
from anogen.training.loop import Loop
from anogen.training.record import (
    environment,
    keep_changes,
    recipe,
    refuse_changes,
    source,
    warn_of_differences,
    write_start,
)
from anogen.training.schedule import Schedule
from anogen.training.signals import StopRequest
from anogen.training.state import plain
from anogen.training.step import LearningRate


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
    cuda_graphs: bool = False,
    resume: bool = False,
) -> Run:
    """Train a model and write a run folder.

    The order of images and all noise are functions of `seed` and the step, so the same seed on
    the same machine gives the same run, and a resumed run ends where the uninterrupted one ends,
    bit for bit. After every epoch the model is evaluated, in evaluation mode, on the validation
    images and on as many training images. SIGINT and SIGTERM save and stop.

    PyTorch's random generators are as before afterwards. They belong to the whole process, so that
    trainings in several threads take turns.

    Args:
        model: what to train; its weights are changed, to float32 where they are not.
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
            evaluated and kept, for example 0.999; it starts smaller, at step / (step + 10), so
            that the first weights are soon forgotten.
        monitor: validation metric by which the best checkpoint is kept, lower is better;
            default: the model's own, if it has one.
        patience: epochs without improvement of `monitor` after which training stops.
        seed: of everything random in training; weights are drawn before, when a model is made.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto` takes bfloat16 for matrix products where the device is fast at it.
        checkpoint_every_s: seconds between checkpoints within an epoch; each epoch ends with one.
        tensorboard: also write TensorBoard event files.
        cuda_graphs: on a GPU, record steps as CUDA graphs and replay them. Off until that has been
            measured on a GPU.
        resume: go on with the run where its last checkpoint stands.

    Returns:
        The run.

    Raises:
        UsageError: settings that make no sense, an existing run without `resume`, or a resumed run
            with other settings than it began with.
        TrainingError: a loss is not finite, or memory ran out.
        MachineError: the folder cannot be written or the checkpoint is damaged.
        Interrupted: a signal; the state was saved.

    Examples:
        >>> import tempfile, torch, anogen
        >>> digits = anogen.load_data("digits")
        >>> _ = torch.manual_seed(0)
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> run = anogen.fit(anogen.VAE(digits.shape, latent=2), digits, folder, epochs=1)
        >>> run.metrics[0]["epoch"], run.load_model().latent
        (1, 2)
    """
    given = dict(locals())
    settings = {
        k: plain(v) for k, v in given.items() if k not in ("model", "data", "run", "resume")
    }
    _check_settings(settings, model, data)
    target = choose_device(device)
    dtype = choose_precision(precision, target)
    if type(model).__module__ == "__main__":
        say(
            f"warning: {type(model).__name__} is defined in the program that runs; only that can "
            "load the run again, unless the class moves to a module that can be imported"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UsageError(
            f"{type(model).__name__} was made within torch.inference_mode, so that its weights "
            "cannot be trained; make it outside"
        )
    config = {"model": recipe(model), **source(data), **settings}
    folder = Run.open(run) if resume else Run.vacant(run)
    if resume:
        refuse_changes(folder, config)
        folder.check_data(data)
        dtype = _recorded_precision(folder)
        warn_of_differences(folder, target)
    with (
        own_randomness(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        memory_advice(f"try batch_size {max(2, batch_size // 2)} instead of {batch_size}"),
        StopRequest() as request,
    ):
        model.to(target, torch.float32, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        loop = Loop(model, data, target, dtype, settings)
        loop.rehearse()
        if not resume:
            with Run.creating(folder.path) as new:
                write_start(new, config, environment(data, target, dtype))
                loop.save(new)
        with folder.locked():
            if resume:
                keep_changes(folder, config)
                loop.restore(folder)
            loop.go(folder, request)
    model.eval()
    return folder


def _recorded_precision(run: Run) -> torch.dtype:
    precision = run.environment.get("precision")
    if precision not in ("bfloat16", "float32"):
        raise MachineError(f"{run.path}/environment.json: damaged, precision is {precision!r}")
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _check_settings(settings: dict[str, Any], model: GenerativeModel, data: Splits) -> None:
    rate = settings["learning_rate"]
    for name in ("epochs", "batch_size", "warmup_steps", "patience"):
        if settings[name] is not None:
            whole_number(name, settings[name])
    for name in ("clip_gradient", "ema_decay"):
        if settings[name] is not None:
            finite_number(name, settings[name])
    if not isinstance(settings["betas"], list) or len(settings["betas"]) != 2:
        raise UsageError(f"betas must be two numbers in [0, 1), found {settings['betas']}")
    for beta in settings["betas"]:
        finite_number("betas", beta)
    positive = {name: settings[name] for name in ("epochs", "batch_size", "checkpoint_every_s")}
    for name, value in [
        *positive.items(),
        *(
            ("learning_rate", value)
            for value in (rate.values() if isinstance(rate, dict) else [rate])
        ),
    ]:
        if finite_number(name, value) <= 0:
            raise UsageError(f"{name} must be positive, found {value}")
    if settings["schedule"] not in get_args(Schedule):
        raise unknown_name("schedule", settings["schedule"], get_args(Schedule))
    if not all(0 <= beta < 1 for beta in settings["betas"]):
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
    checked_seed(settings["seed"])
    if model.shape != data.shape:
        raise UsageError(f"the model is for images of {model.shape}, the data has {data.shape}")
    _check_labels(model, data)
    if settings["tensorboard"]:
        check_tensorboard()


def _check_labels(model: GenerativeModel, data: Splits) -> None:
    """Refuse a conditional model where labels are missing or more than it has classes."""
    known = len(data.train.classes)
    if model.classes > known > 0:
        raise UsageError(
            f"classes {model.classes}: {data.name} has {known} labels; set classes {known}"
        )
    for images in (data.train, data.validation) if model.classes else ():
        if images.labels is None:
            raise UsageError(f"classes {model.classes}: {images.name} has no labels; set classes 0")
        least, most = int(images.labels.min()), int(images.labels.max())
        if least < 0 or most >= model.classes:
            raise UsageError(
                f"classes {model.classes}: {images.name} has the label "
                f"{least if least < 0 else most}; set classes {len(images.classes) or most + 1}"
            )
