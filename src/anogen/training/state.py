"""All that a training run is at a moment, and how it becomes a checkpoint and comes back."""

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from anogen.configuration import plain
from anogen.device import is_starved
from anogen.errors import MOST, MachineError, first_line
from anogen.models import model_name
from anogen.models.base import Model
from anogen.training.step import Player


@dataclass
class Counters:
    """Where a run is; everything random is a function of this and the seed.

    Attributes:
        step: optimiser steps done.
        epoch: epochs finished.
        batch: batches done of the epoch under way.
        sums: loss or term → sum of its batch means over those batches, in training mode, and how
            many batches had it (a player that rests has no loss).
        best_value: lowest value of the monitored metric, None before there is one.
        best_epoch: the epoch that had it.
        elapsed_s: seconds of training, without interruptions.
        planned_steps: how many steps training was to take when it began, of a model that plans.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])
    best_value: float | None = None
    best_epoch: int = 0
    elapsed_s: float = 0.0
    planned_steps: int = 0

    def check(self) -> None:
        """Refuse values that no training leaves.

        Raises:
            ValueError: one of them.
        """
        counts = [self.step, self.epoch, self.batch, self.best_epoch, self.planned_steps]
        counts += [count for _, count in self.sums.values()]
        totals = [self.elapsed_s, *(total for total, _ in self.sums.values())]
        totals += [] if self.best_value is None else [self.best_value]
        if not all(type(count) is int and 0 <= count <= MOST for count in counts):
            raise ValueError("a counter is not a whole number")
        if not all(type(total) in (int, float) and abs(total) < MOST for total in totals):
            raise ValueError("a sum is not a finite number")
        if self.elapsed_s < 0 or any(not count for _, count in self.sums.values()):
            raise ValueError("a counter is zero or negative")


@dataclass
class TrainingState:
    """A model with its optimisers, averaged weights and counters.

    Attributes:
        model: the weights that are trained.
        players: the optimisers.
        averaged: exponential moving average of the model, or None.
        counters: where the run is.
    """

    model: Model
    players: list[Player]
    averaged: Model | None
    counters: Counters = field(default_factory=Counters)

    @property
    def evaluated(self) -> Model:
        """The weights that are evaluated and kept: averaged where averaging is on."""
        return self.averaged or self.model

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the averaged weights towards the trained ones; buffers are copied."""
        if self.averaged is None:
            return
        kept_parameters, new_parameters = self.averaged.parameters(), self.model.parameters()
        for kept, new in zip(kept_parameters, new_parameters, strict=True):
            kept.lerp_(new, 1 - decay)
        for kept, new in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            kept.copy_(new)

    def is_finite(self) -> bool:
        """Whether every weight and every statistic is finite."""
        values = [*self.model.state_dict().values(), *self.evaluated.state_dict().values()]
        return all(bool(torch.isfinite(value).all()) for value in values)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """What evaluation needs, for `save_checkpoint`."""
        return {"weights": self.evaluated.state_dict()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What resuming needs, for `save_checkpoint`."""
        training = {
            f"{player.name}.{index}.{key}": value
            for player in self.players
            for index, parameter in enumerate(player.parameters)
            for key, value in player.optimizer.state[parameter].items()
        }
        if self.averaged is not None:
            training |= {f"model.{k}": v for k, v in self.model.state_dict().items()}
        return {**self.weights(), "training": training}

    def description(self) -> dict[str, Any]:
        """The JSON part of a checkpoint."""
        return {"model": describe(self.model), "counters": asdict(self.counters)}

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Take the place that a checkpoint describes.

        Raises:
            MachineError: the checkpoint is another model's, or damaged.
        """
        try:
            self._restore(tensors, state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_starved(error):
                raise
            raise MachineError(
                f"the checkpoint does not hold a training of this model ({first_line(error)})"
            ) from error

    def _restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        if state["model"] != describe(self.model):
            raise MachineError("the checkpoint is of another model, or of one with other arguments")
        training = tensors.get("training")
        if training is None:
            raise MachineError("the checkpoint holds weights only and cannot be trained on")
        self.evaluated.load_state_dict(tensors["weights"])
        if self.averaged is not None:
            prefix = "model."
            own = {k.removeprefix(prefix): v for k, v in training.items() if k.startswith(prefix)}
            self.model.load_state_dict(own)
        for player in self.players:
            for index, parameter in enumerate(player.parameters):
                start = f"{player.name}.{index}."
                player.optimizer.state[parameter] = {
                    key.removeprefix(start): _like(value, parameter)
                    for key, value in training.items()
                    if key.startswith(start)
                }
        self.counters = Counters(**state["counters"])
        self.counters.check()


def describe(model: Model) -> dict[str, Any]:
    """How to build the model again, as JSON knows it (tuples are lists)."""
    arguments = {name: plain(value) for name, value in model.arguments.items()}
    return {"class_path": model_name(model), "init_args": arguments}


def averaged_copy(model: Model) -> Model:
    """A copy for the moving average, in evaluation mode, without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """A moment with the device and memory layout of its parameter; Adam's scalar step as it is."""
    if value.dim() == 0 and parameter.dim() > 0:
        return value.to(parameter.device)
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
