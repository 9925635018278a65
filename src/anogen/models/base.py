"""What every generative model is: players, their losses in one forward pass, and samples."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Generator, Tensor, nn

from anogen.nets.conv import Shape


@dataclass(frozen=True)
class Losses:
    """What one forward pass gives.

    Attributes:
        players: player → the scalar that it minimises; a player left out rests for this step.
        terms: name with its unit → float `[b]`, one value per example, for the log.
    """

    players: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]


class GenerativeModel(nn.Module, ABC):
    """A module whose parameters are split among players, each with a loss of its own.

    The constructor takes `shape` (channels, height, width) first; its other arguments are the
    model's configuration, kept in `arguments`, and become its YAML and its command-line options.

    Attributes:
        shape: channels, height and width of the images.
        arguments: what the constructor was called with, defaults included.
        monitor: the validation metric by which the best checkpoint is chosen, lower is better;
            None where no single number says which epoch is best, as in a game.
    """

    shape: Shape
    arguments: dict[str, Any]
    monitor: ClassVar[str | None]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, so that every model knows how it was made."""
        model = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(model, *args, **kwargs)
        except TypeError:  # `copy` makes objects without arguments; __init__ refuses wrong ones
            return model
        bound.apply_defaults()
        object.__setattr__(model, "arguments", dict(list(bound.arguments.items())[1:]))
        return model

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """Player → the modules that it trains; no parameter may have two players."""

    @abstractmethod
    def losses(self, x: Tensor, step: int | None = None) -> Losses:
        """Every player's loss for a batch.

        Args:
            x: float `[b, c, h, w]` in [0, 1].
            step: optimiser steps done so far, for schedules; None in evaluation: schedules are at
                their end and there are no gradients, so gradient penalties are left out.
        """

    @abstractmethod
    def sample(self, count: int, generator: Generator | None = None) -> Tensor:
        """New images, float `[count, c, h, w]` in [0, 1], drawn with `generator`."""


def draw(model: GenerativeModel, count: int, generator: Generator, size: int) -> Iterator[Tensor]:
    """`count` new images, at most `size` at a time: float `[≤ size, c, h, w]` in [0, 1]."""
    for start in range(0, count, size):
        yield model.sample(min(size, count - start), generator)


@runtime_checkable
class Encodes(Protocol):
    """A model that maps images to latent vectors."""

    def posterior_mean(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, latent]`."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """A model that maps latent vectors, standard normal a priori, to images."""

    latent: int

    def decode(self, z: Tensor) -> Tensor:
        """float `[b, latent]` → float `[b, c, h, w]` in [0, 1]."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A model that gives back what it understood of an image."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, c, h, w]`; deterministic."""
        ...


@runtime_checkable
class HasLikelihood(Protocol):
    """A model with a bound on the likelihood of an image."""

    def elbo(self, x: Tensor) -> Tensor:
        """Evidence lower bound in nats, float `[b]`, one posterior sample."""
        ...

    def kl(self, x: Tensor) -> Tensor:
        """KL divergence of the posterior from the prior in nats, float `[b, latent]`."""
        ...

    def log_likelihood(self, x: Tensor, samples: int) -> Tensor:
        """Importance-weighted bound on log p(x) in nats, float `[b]`."""
        ...
