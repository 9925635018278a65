"""Hooks: a user's code that takes part in training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anogen.errors import UsageError
from anogen.models.base import Model
from anogen.run import Run
from anogen.training.settings import TrainingSettings


@dataclass
class Training:
    """A training as its hooks see it.

    Attributes:
        model: whose weights are trained.
        run: its folder.
        settings: how it is trained.
        step: optimiser steps done.
        epoch: epochs done.
        stop: why training is to end after this epoch; empty: it goes on.
    """

    model: Model
    run: Run
    settings: TrainingSettings
    step: int = 0
    epoch: int = 0
    stop: str = field(default="", init=False)


class Hook:
    """What is called while a model trains; override what you need.

    A hook that draws random numbers does not change the training, whose noise is a function of seed
    and step. One that changes the model does, and a resumed run equals the uninterrupted one only
    if it does the same again. What it raises ends the training after the last checkpoint.

    Examples:
        >>> class StopWhenGood(Hook):
        ...     def on_epoch_end(self, training, metrics):
        ...         if metrics["validation_loss_vae"] < 30:
        ...             training.stop = "good enough"
    """

    def on_start(self, training: Training) -> None:
        """Before the first step, or the first after resuming."""

    def on_step_end(self, training: Training, losses: Mapping[str, float]) -> None:
        """After every step; the losses are each player's before the step."""

    def on_epoch_end(self, training: Training, metrics: Mapping[str, float]) -> None:
        """After every epoch, when its row of `metrics.jsonl` and its checkpoint are written."""

    def on_end(self, training: Training) -> None:
        """When training is over: all epochs done, out of patience, or stopped by a hook."""


def checked_hooks(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """The hooks, if that is what they are.

    Raises:
        UsageError: one is of another kind, or they are no sequence.
    """
    given: Any = hooks
    checked: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) else (given,)
    for hook in checked:
        if not isinstance(hook, Hook):
            raise UsageError(f"hooks are a list of anogen.Hook, such as [MyHook()], found {hook!r}")
    if isinstance(given, Hook):
        raise UsageError("hooks are a list of anogen.Hook; put the one in brackets")
    return checked
