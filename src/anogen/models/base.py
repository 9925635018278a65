"""What every model is: players with their losses in one forward pass; and what makes new images."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    Protocol,
    Self,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

import torch
from torch import Generator, Tensor, nn

from anogen.data.text import tokens_of
from anogen.errors import UsageError, finite_number, true_or_false, whole_number
from anogen.models.damage import Damage
from anogen.nets import NetOptions, Shape
from anogen.nets.condition import ClassCondition, Condition, NoCondition
from anogen.nets.options import DEFAULTS, MAX_UNITS
from anogen.nets.text import TextCondition


@dataclass(frozen=True)
class Losses:
    """What one forward pass gives.

    Attributes:
        players: player → the scalar that it minimises; a player left out rests for this step.
        terms: name with its unit → float `[b]`, one value per example, for the log.
    """

    players: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]


class Sampler(Protocol):
    """Where latents come from.

    Attributes:
        name: what pictures and tables call it.
    """

    name: ClassVar[str]

    def latents(self, count: int, generator: Generator, condition: Tensor | None) -> Tensor:
        """float32 `[count, latent]`; a condition for each, where the model is conditional."""
        ...


class Model(nn.Module, ABC):
    """A module whose parameters are split among players, each with a loss of its own.

    The constructor takes `shape` (channels, height, width) first; its other arguments are the
    model's configuration, kept in `arguments`, and become its YAML and its command-line options.

    Attributes:
        shape: channels, height and width of the images.
        condition: what it is conditional on; nothing, unless the constructor sets another
            `Condition` after that of this class.
        arguments: what the constructor was called with, defaults included.
        monitor: the validation metric by which the best checkpoint is chosen, lower is better: one
            of the terms of `losses`, or `frechet_distance`, of samples, for games, whose losses do
            not say which epoch is best; None: the last one is taken.
        recordable: whether `phase` says what `losses` computes, so that a GPU may replay recorded
            steps; a class that defines `losses` must say so itself.
        total_steps: how many steps its training was to take when it began, for what happens at a
            share of it; training sets it where `plans` is true.
        plans: whether something happens at a share of the training.
        damage: what the images are damaged by before the model sees them in training, so that it
            learns to restore them; None: nothing.
    """

    shape: Shape
    condition: Condition
    damage: Damage | None = None
    total_steps: int = 0
    plans: bool = False
    arguments: dict[str, Any]
    monitor: ClassVar[str | None]
    recordable: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "losses" in vars(cls) and "recordable" not in vars(cls):
            cls.recordable = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, so that every model knows how it was made.

        Where a constructor hands `**options` to its parent's, the parent's arguments count too.

        Raises:
            UsageError: an argument that is said to be a number is none, or is not finite.
        """
        model = super().__new__(cls)
        kinds, defaults = _accepted(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(model, *args, **kwargs)
        except TypeError:  # `copy` makes objects without arguments; __init__ refuses wrong ones
            return model
        given: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:
            gathers = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            given |= value if gathers else {name: value}
        own = defaults | given
        if "shape" in own:
            _check_shape(own["shape"])
        for name, value in given.items():
            if name not in defaults or value is not defaults[name]:
                _check_number(name, value, kinds.get(name))
        object.__setattr__(model, "arguments", own)
        return model

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.condition = NoCondition()

    def _seen(self, x: Tensor) -> Tensor:
        """What the model is shown of images in training: the damaged ones, if it is to restore."""
        return x if self.damage is None else self.damage(x)[0]

    @property
    def classes(self) -> int:
        """How many classes it is conditional on; 0: none, and labels are ignored."""
        return self.condition.size if isinstance(self.condition, ClassCondition) else 0

    @property
    def takes_text(self) -> bool:
        """Whether it is conditional on texts; if so, it is trained on the captions of images."""
        return isinstance(self.condition, TextCondition)

    def asked(self, texts: Sequence[str]) -> Tensor:
        """Texts as conditions: tokens, int64 `[n, length]`, on the model's device.

        Raises:
            UsageError: the model takes no texts, or something is no text.
        """
        if not self.takes_text:
            raise UsageError(
                f"this {type(self).__name__} takes no texts; train one on pictures with captions, "
                "with --preset text"
            )
        given: Any = [] if isinstance(texts, str) else list(texts)
        if not given:
            raise UsageError("texts are a list of at least one text")
        wrong = next((text for text in given if not isinstance(text, str)), None)
        if wrong is not None:
            raise UsageError(f"a text is expected, found {type(wrong).__name__}")
        return torch.from_numpy(tokens_of(given)).to(next(self.parameters()).device)

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """Player → the modules that it trains; no parameter may have two players."""

    @abstractmethod
    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """Every player's loss for a batch.

        Args:
            x: float `[b, c, h, w]` in [0, 1].
            step: optimiser steps done so far, for schedules; None in evaluation: schedules are at
                their end and there are no gradients, so gradient penalties are left out.
            condition: a row for each image, where the model is conditional: int64 `[b]`, the
                classes; int64 `[b, length]`, the tokens of texts; or float `[b, size]`, vectors
                that were made of conditions.
        """

    def phase(self, step: int) -> Hashable | None:  # noqa: ARG002 (for those who override it)
        """What of `step` decides what `losses` computes, so that a GPU may replay a recorded step.

        With equal phases it must be the same function of images, conditions, weights and noise,
        without looking at values on the way. It is asked where `recordable` is true.

        Returns:
            None where a step is like no other.
        """
        return None


class GenerativeModel(Model):
    """A model that makes images of latent vectors.

    Attributes:
        latent: length of the latent vector, standard normal a priori.
        sampler: what `sample` draws latents from, learnt from where the training images lie; None:
            their prior.
    """

    latent: int
    sampler: Sampler | None = None

    @abstractmethod
    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The images of latent vectors; deterministic in evaluation mode.

        Args:
            z: float `[b, latent]`.
            condition: where the model is conditional, as for `losses`.

        Returns:
            float `[b, c, h, w]` in [0, 1].
        """

    def sample(
        self,
        count: int,
        generator: Generator | None = None,
        condition: Tensor | None = None,
        sampler: Sampler | None = None,
        *,
        text: str | Sequence[str] | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """New images: latents drawn and decoded.

        Args:
            count: how many.
            generator: of the draws, on the processor; default: PyTorch's own.
            condition: one for each; default, where the model is conditional: drawn uniformly, or
                empty texts.
            sampler: of the latents; default: the model's own, or else their prior.
            text: in the place of `condition`, a text for all images, or one for each.
            guidance: of a model that takes texts, how far to go from what an empty text gives to
                what the text gives: 1 is the text, more follows it more closely, at the cost of
                variety and, if it is much, of looks.

        Returns:
            float `[count, c, h, w]` in [0, 1].

        Raises:
            UsageError: a text, or guidance, for a model that takes none; or not one for each.
        """
        device = next(self.parameters()).device
        finite_number("guidance", guidance)
        if text is not None:
            if condition is not None:
                raise UsageError("give a condition or a text, not both")
            texts = [text] * count if isinstance(text, str) else list(text)
            if len(texts) != count:
                raise UsageError(f"{count} images, but {len(texts)} texts")
            condition = self.asked(texts)
        generator = torch.default_generator if generator is None else generator
        source = sampler or self.sampler
        if condition is None:
            condition = self.condition.random(count, generator)
        if source is None:
            z = torch.randn(count, self.latent, generator=generator, dtype=torch.float32)
        else:
            z = source.latents(count, generator, None if condition is None else condition.cpu())
        condition = None if condition is None else condition.to(device)
        if guidance != 1:
            condition = self.condition.guided(condition, guidance)
        return self.decode_sample(z.to(device), generator, condition)

    def decode_sample(
        self, z: Tensor, generator: Generator, condition: Tensor | None = None
    ) -> Tensor:
        """The images that `sample` makes of latent vectors: those of `decode`.

        For models that draw more than the latents of an image, from `generator`.
        """
        del generator
        return self.decode(z, condition)


MAX_VALUES = 100_000_000
"""Of an image: more fit into no net that a machine can hold."""


def _check_shape(shape: Any) -> None:
    sizes = list(shape) if isinstance(shape, list | tuple) else []
    if len(sizes) != 3 or min(whole_number("shape", size) for size in sizes) < 1:
        raise UsageError(f"a shape is (channels, height, width), found {shape!r}")
    if math.prod(sizes) > MAX_VALUES:
        raise UsageError(
            f"images of {shape!r} have more than {MAX_VALUES:,} values; make them smaller"
        )


def _accepted(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a constructor accepts: name → annotation, and name → default.

    `**options` are those of a `NetOptions`, or whatever the parent's constructor accepts.
    """
    order = kind.__mro__
    owner = next(index for index, each in enumerate(order) if "__init__" in vars(each))
    parameters = list(_signature(vars(order[owner])["__init__"]).parameters.values())[1:]
    kinds: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is not parameter.VAR_KEYWORD:
            continue
        if get_origin(parameter.annotation) is Unpack:
            kinds, defaults = get_type_hints(NetOptions), dict(DEFAULTS)
        elif order[owner + 1 :] != (object,):
            kinds, defaults = _accepted(order[owner + 1])
    plain = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    kinds = kinds | {p.name: p.annotation for p in plain}
    return kinds, defaults | {p.name: p.default for p in plain if p.default is not p.empty}


def _signature(function: Callable[..., None]) -> inspect.Signature:
    """The signature with its annotations as types, where they can be found."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError):  # names that are known to type checkers only
        return inspect.signature(function)


def _check_number(name: str, value: Any, annotation: Any) -> None:
    """Refuse text, infinity and the like where a constructor's signature says int or float."""
    united = get_origin(annotation) in (UnionType, Union)
    kinds: set[Any] = set(get_args(annotation)) if united else {annotation}
    if value is None and NoneType in kinds:
        return
    if kinds - {NoneType} == {int}:
        whole_number(name, value)
    elif kinds - {NoneType} == {float}:
        finite_number(name, value)
    elif kinds - {NoneType} == {bool}:
        true_or_false(name, value)


def check_latent(latent: int) -> None:
    """Refuse a latent vector without length, or of one that no machine can hold."""
    if not 1 <= latent <= MAX_UNITS:
        raise UsageError(f"latent must be at least 1 and at most {MAX_UNITS:,}, found {latent}")


@runtime_checkable
class Encodes(Protocol):
    """A model that maps images to latent vectors."""

    def posterior_mean(self, x: Tensor) -> Tensor:
        """float `[b, c, h, w]` → float `[b, latent]`."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A model that gives back what it understood of an image."""

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """float `[b, c, h, w]` → float `[b, c, h, w]`; deterministic."""
        ...


@runtime_checkable
class HasLikeness(Protocol):
    """A model that knows how well images and texts fit, if it takes texts."""

    def likeness(self, x: Tensor, condition: Tensor) -> Tensor:
        """float `[n, c, h, w]`, texts `[m, length]` → cosines, float32 `[n, m]`."""
        ...


@runtime_checkable
class HasPosterior(Protocol):
    """A model with a Gaussian over latent vectors for each image."""

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each float `[b, latent]`."""
        ...

    def kl(self, x: Tensor) -> Tensor:
        """KL divergence of the posterior from the prior in nats, float `[b, latent]`."""
        ...


@runtime_checkable
class HasLikelihood(Protocol):
    """A model with a bound on the likelihood of an image."""

    def elbo(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        posterior: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Evidence lower bound in nats, float `[b]`, one posterior sample or those of `noise`."""
        ...

    def log_likelihood(
        self,
        x: Tensor,
        samples: int,
        condition: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Importance-weighted bound on log p(x) in nats, float `[b]`."""
        ...


@runtime_checkable
class HasContrast(Protocol):
    """A model with a second prior, for what is not in the data."""

    def contrast_log_ratio(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """How much better the second prior fits a posterior, in nats, float `[b]`."""
        ...


@runtime_checkable
class HasStyles(Protocol):
    """A model whose layers are each driven by a style."""

    def styles(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """float `[b, latent]` → float `[b, layers, style]`."""
        ...

    def truncate(self, styles: Tensor, share: float) -> Tensor:
        """Styles pulled towards their mean, to `share` of their distance."""
        ...

    def synthesise(self, styles: Tensor) -> Tensor:
        """float `[b, layers, style]` → float `[b, c, h, w]` in [0, 1]."""
        ...


def generative(model: Model, what: str) -> GenerativeModel:
    """The model, if it makes new images.

    Args:
        model: any.
        what: asks for it, for the message.

    Raises:
        UsageError: it makes none.
    """
    if not isinstance(model, GenerativeModel):
        raise UsageError(f"{what}: a {type(model).__name__} makes no new images")
    return model


def refuse_no_model(value: object, function: str) -> None:
    """Raise a `UsageError` for what is no model, such as the name of one."""
    if not isinstance(value, nn.Module):
        raise UsageError(
            f"{function} needs a model, such as anogen.VAE(data.shape), found {value!r}"
        )
