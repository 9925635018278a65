"""Training from the first step to the last, for every model, with nothing lost in between."""

import copy
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from anogen.checkpoint import hash_of_tensors, previous_of
from anogen.data.splits import Splits, expect
from anogen.device import (
    choose_device,
    choose_precision,
    choose_threads,
    in_threads,
    memory_advice,
    own_randomness,
)
from anogen.errors import MachineError, UsageError
from anogen.models.base import Encodes, GenerativeModel, Model, refuse_no_model
from anogen.models.conditions import all_shown_to
from anogen.models.mixture import MixtureSampler
from anogen.models.sampling import load_sampler, save_sampler
from anogen.progress import say, stage
from anogen.run import Run
from anogen.training.hooks import Hook, checked_hooks
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
from anogen.training.settings import TrainingSettings
from anogen.training.signals import StopRequest


def fit(
    model: Model,
    data: Splits,
    run: str | Path,
    settings: TrainingSettings | None = None,
    *,
    resume: bool = False,
    hooks: Sequence[Hook] = (),
    **changes: Any,
) -> Run:
    """Train a model and write a run folder.

    The order of images and all noise are functions of `seed` and the step, so the same seed on
    the same machine with the same number of threads gives the same run, and a resumed run, which
    keeps that number, ends where the uninterrupted one ends, bit for bit. After every epoch the
    model is evaluated, in evaluation mode, on the validation images and on as many training images.
    SIGINT and SIGTERM save and stop.

    PyTorch's random generators are as before afterwards. They belong to the whole process, so that
    trainings in several threads take turns.

    Args:
        model: what to train; its weights are changed, to float32 where they are not.
        data: `train` is fitted, `validation` chooses the best checkpoint, `test` is not touched.
        run: a new folder, or with `resume` the one to go on with.
        settings: how; default: those of `TrainingSettings()`.
        resume: go on with the run where its last checkpoint stands.
        hooks: code of your own that takes part.
        changes: single settings by name, such as `epochs=5`; see `TrainingSettings` for all.

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
    refuse_no_model(model, "fit")
    expect(data, Splits, "fit")
    settings, hooks = TrainingSettings.of(settings, changes), checked_hooks(hooks)
    _check(settings, model, data)
    settings = settings.for_images(len(data.train))
    target = choose_device(settings.device)
    threads = _threads(settings, target, Run.open(run) if resume else None)
    settings = replace(settings, threads=threads)
    dtype = choose_precision(settings.precision, target)
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
    config = {"model": recipe(model), **source(data), **settings.as_dict()}
    folder = Run.open(run) if resume else Run.vacant(run)
    if resume:
        refuse_changes(folder, config)
        folder.check_data(data)
        dtype = _recorded_precision(folder)
        warn_of_differences(folder, target, settings.threads)
    with (
        own_randomness(),
        in_threads(threads),
        torch.autocast(target.type, enabled=False),  # whatever the caller has on
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        memory_advice(f"try a batch_size below {settings.batch_size}"),
        StopRequest() as request,
    ):
        if isinstance(model, GenerativeModel):
            model.sampler = None  # one that was fitted to other weights
        model.to(target, torch.float32, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        loop = Loop(model, all_shown_to(model, data), target, dtype, settings, hooks)
        loop.rehearse()
        if not resume:
            with Run.creating(folder.path) as new:
                about = environment(data, target, dtype)
                about |= {"feature_extractor": loop.features} if loop.features else {}
                write_start(new, config, about)
                if data.columns is not None:
                    new.write_json("columns.json", data.columns.content())
                loop.save(new)
        with folder.locked():
            if resume:
                keep_changes(folder, config)
                loop.restore(folder)
            loop.go(folder, request)
            pictures = data.columns is None  # nobody samples rows
            _keep_sampler(folder, model, data, settings.fit_sampler and pictures)
    model.eval()
    return folder


def _keep_sampler(run: Run, model: Model, data: Splits, wanted: bool) -> None:
    """Fit a sampler to the weights that `Run.load_model` gives, unless it is there already."""
    if not wanted or not isinstance(model, Encodes):
        for folder in (run.sampler, previous_of(run.sampler)):
            shutil.rmtree(folder, ignore_errors=True)
        return
    weights = run.load_state(run.chosen(None), ("weights",))[0]["weights"]
    digest = hash_of_tensors(weights)
    if load_sampler(run.sampler, digest) is not None:
        return
    best = copy.deepcopy(model)
    best.load_state_dict(weights)
    try:
        with stage("fitting a mixture to the latents"):
            sampler = MixtureSampler.fit(best.eval(), data.train)
    except UsageError as error:
        say(f"warning: {error}; samples will come from the prior")
        return
    save_sampler(run.sampler, sampler, digest)


def _threads(settings: TrainingSettings, device: torch.device, resumed: Run | None) -> int:
    """How many are asked for, or were in the run that is resumed, or are free."""
    if settings.threads is not None:
        return min(settings.threads, os.cpu_count() or 1)
    recorded = None if resumed is None else resumed.environment.get("threads")
    if type(recorded) is int and recorded > 0:
        return min(recorded, os.cpu_count() or 1)
    all_of_them = torch.get_num_threads()
    count = choose_threads() if device.type == "cpu" else all_of_them
    if count < all_of_them:
        say(
            f"other processes are busy: training with {count} of {all_of_them} threads; set "
            f"threads {all_of_them} for the results of an idle machine, to the last bit"
        )
    return count


def _recorded_precision(run: Run) -> torch.dtype:
    precision = run.environment.get("precision")
    if precision not in ("bfloat16", "float32"):
        raise MachineError(f"{run.path}/environment.json: damaged, precision is {precision!r}")
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _check(settings: TrainingSettings, model: Model, data: Splits) -> None:
    """Refuse a model or settings that do not fit the data."""
    if model.shape != data.shape:
        raise UsageError(f"the model is for images of {model.shape}, the data has {data.shape}")
    _check_labels(model, data)
    all_shown_to(model, data)
    data.warn()
    if settings.tensorboard:
        check_tensorboard()


def _check_labels(model: Model, data: Splits) -> None:
    """Refuse a conditional model where labels are missing or more than it has classes."""
    labels = len(data.train.classes)
    if model.classes > labels > 0:
        raise UsageError(
            f"classes {model.classes}: {data.name} has {labels} labels; set classes {labels}"
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
