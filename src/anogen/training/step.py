"""One training step for any number of players: each follows the gradient of its own loss alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anogen.device import matrix_products_in
from anogen.errors import UsageError
from anogen.models.base import Losses, Model
from anogen.training.settings import LearningRate

NORM_EVERY = 11
"""Steps between measurements of gradient norms, so that they cost next to nothing; a prime, so that
lazy penalties are met as often as they come."""


@dataclass(frozen=True)
class Player:
    """A part of a model with the optimiser that trains it."""

    name: str
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Adam
    learning_rate: float

    def scale_rate(self, factor: float) -> None:
        """Set the optimiser's rate to this share of the learning rate, in place on a GPU."""
        group = self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(self.learning_rate * factor)
        else:
            group["lr"] = self.learning_rate * factor


@dataclass(frozen=True)
class Update:
    """What one step did.

    Attributes:
        losses: before the step, detached.
        gradient_norms: player → Euclidean norm of its gradient before clipping; measured in every
            eleventh step, else empty.
    """

    losses: Losses
    gradient_norms: Mapping[str, Tensor]


def make_players(
    model: Model, learning_rate: LearningRate, betas: tuple[float, float]
) -> list[Player]:
    """One Adam for each player of the model (Kingma & Ba 2015).

    Raises:
        UsageError: a parameter belongs to two players or to none (a mistake in the model), or
            `learning_rate` names other players than the model has.
    """
    names = list(model.players())
    rates = (
        learning_rate if isinstance(learning_rate, dict) else dict.fromkeys(names, learning_rate)
    )
    if set(rates) != set(names):
        raise UsageError(f"learning_rate is for {', '.join(rates)}; players are {', '.join(names)}")
    owner: dict[nn.Parameter, str] = {}
    players: list[Player] = []
    for name, modules in model.players().items():
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        for parameter in parameters:
            if owner.setdefault(parameter, name) != name:
                raise UsageError(
                    f"{type(model).__name__}: {owner[parameter]} and {name} share a weight"
                )
        optimizer = _adam(parameters, rates[name], betas)
        players.append(Player(name, parameters, optimizer, rates[name]))
    orphans = [n for n, p in model.named_parameters() if p.requires_grad and p not in owner]
    if orphans:
        raise UsageError(f"{type(model).__name__}: no player trains {', '.join(orphans)}")
    return players


def _adam(
    parameters: list[nn.Parameter], rate: float, betas: tuple[float, float]
) -> torch.optim.Adam:
    """On a GPU its numbers lie there, so that a CUDA graph can take its step down."""
    gpu = parameters[0].is_cuda
    lr = torch.tensor(rate, device=parameters[0].device) if gpu else rate
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True, capturable=gpu)


def train_step(
    model: Model,
    players: list[Player],
    x: Tensor,
    step: int,
    precision: torch.dtype = torch.float32,
    clip_gradient: float | None = None,
    condition: Tensor | None = None,
) -> Update:
    """Every player's gradient at the same point, then every player's step.

    One forward pass serves all players. A player that the model leaves out of its losses rests.

    Args:
        model: in training mode.
        players: from `make_players`.
        x: float32 `[b, c, h, w]` in [0, 1].
        step: optimiser steps done so far.
        precision: of matrix products; weights, losses and optimisers stay float32.
        clip_gradient: largest norm of a player's gradient; None does not clip.
        condition: int64 `[b]` where the model is conditional.

    Returns:
        The losses before the step, and now and then the norms of the gradients.
    """
    with matrix_products_in(precision, x.device):
        losses = model.losses(x, step, condition)
    active = [player for player in players if player.name in losses.players]
    set_gradients(active, losses.players)
    norms: dict[str, Tensor] = {}
    for player in active:
        if clip_gradient is not None or step % NORM_EVERY == 0:
            limit = math.inf if clip_gradient is None else clip_gradient
            norms[player.name] = nn.utils.clip_grad_norm_(player.parameters, limit)
        player.optimizer.step()
        player.optimizer.zero_grad(set_to_none=True)
    detached = Losses(_detached(losses.players), _detached(losses.terms))
    return Update(detached, norms if step % NORM_EVERY == 0 else {})


def set_gradients(players: list[Player], losses: Mapping[str, Tensor]) -> None:
    """Put the gradient of each player's loss by its own parameters into `parameter.grad`."""
    for index, player in enumerate(players):
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            losses[player.name],
            player.parameters,
            retain_graph=index < len(players) - 1,
            allow_unused=True,
        )
        for parameter, gradient in zip(player.parameters, gradients, strict=True):
            parameter.grad = _laid_out_as(parameter, gradient)


def _laid_out_as(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """The gradient, in memory as its parameter is.

    PyTorch's fused Adam goes through both in the order of their memory. Where that differs, as it
    does after second derivatives, it refuses on a GPU, and on a processor silently gives numbers
    the gradients of others.
    """
    if gradient is None:
        return None
    pairs = zip(parameter.shape, parameter.stride(), gradient.stride(), strict=True)
    if all(own == other or size == 1 for size, own, other in pairs):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _detached(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in named.items()}
