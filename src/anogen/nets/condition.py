"""What a model is conditional on, as a vector, whatever it was: nothing, or a class."""

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.nets.options import MAX_UNITS


class Condition(nn.Module, ABC):
    """Conditions `[b]` or `[b, length]`, int64, to vectors; models do not ask what they were.

    Wherever a condition is taken, vectors that were made of conditions, or that lie between them,
    are taken as well.

    Attributes:
        size: of the vector; 0 where there is no condition, and whatever is given is ignored.
    """

    size: int

    def forward(self, condition: Tensor | None) -> Tensor | None:
        """The vectors, float32 `[b, size]`; None where there is no condition.

        Raises:
            UsageError: none was given, or one that is not known.
        """
        if condition is None or not condition.is_floating_point() or not self.size:
            return self.encoded(condition)
        if condition.ndim != 2 or condition.shape[1] != self.size:
            raise UsageError(f"vectors of conditions are [b, {self.size}], found "
                             f"{list(condition.shape)}")  # fmt: skip
        return condition

    @abstractmethod
    def encoded(self, condition: Tensor | None) -> Tensor | None:
        """What `forward` gives for conditions that are no vectors yet."""

    @property
    def outputs(self) -> int:
        """How many numbers `logit` takes for each image."""
        return max(1, self.size)

    @abstractmethod
    def random(self, count: int, generator: Generator | None) -> Tensor | None:
        """`count` conditions drawn uniformly, on the processor."""

    def others(self, given: Tensor) -> Tensor:
        """Whether the condition before each, the last one's before the first, is wrong for it.

        bool `[b]`, of int64 `[b]` or `[b, 2]`.
        """
        first = given if given.ndim == 1 else given[:, 0]
        return first.roll(1, 0) != first

    def guided(self, condition: Tensor | None, strength: float) -> Tensor:
        """Vectors, float32 `[b, size]`, that go `strength` times as far from that of no condition
        in particular, where there is such a one.

        Source: in the manner of Ho & Salimans 2022, in the space of conditions.

        Raises:
            UsageError: there is none.
        """
        del condition
        raise UsageError(f"guidance {strength} is for models that take texts")

    def told_apart(self, outputs: Tensor, condition: Tensor | None, of: Tensor | None) -> Tensor:
        """How badly images and what they show find each other in a batch, in nats: float32 `[b]`.

        0 where there is nothing to be found.

        Args:
            outputs: a discriminator's, `[b, outputs]`.
            condition: one for each, or its vector.
            of: what the vectors were made of; equal ones are no mistakes.
        """
        del condition, of
        return outputs.new_zeros(len(outputs), dtype=torch.float32)

    def likeness(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """How well images, by a net's outputs `[n, …]`, fit conditions `[m, …]`: `[n, m]`.

        Raises:
            UsageError: the net has not learnt it.
        """
        del outputs, condition
        raise UsageError("this model compares no images with texts; train one with --preset text")

    def append(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Latents `[b, latent]` with the vectors beside them: `[b, latent + size]`."""
        vector = self(condition)
        return z if vector is None else torch.cat([z, vector.to(z.dtype)], 1)

    def logit(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """A discriminator's logit, float32 `[b]`, from its outputs `[b, max(1, size)]`.

        Their projection on the vector; for classes, the output of the class. Outputs may be a map
        `[b, max(1, size), h, w]`; then so are the logits, `[b, h, w]`.

        Source: Miyato & Koyama 2018, section 3.
        """
        vector = self(condition)
        if vector is None:
            return outputs.float()[:, 0]
        return (outputs.float() * vector.view(*vector.shape, *[1] * (outputs.ndim - 2))).sum(1)


class NoCondition(Condition):
    """Of a model that is conditional on nothing: data may have labels, and they are ignored."""

    size = 0

    def encoded(self, condition: Tensor | None) -> None:
        """None."""

    def random(self, count: int, generator: Generator | None) -> None:
        """None."""


class ClassCondition(Condition):
    """One of `size` classes (or domains), int64 `[b]`, as a one-hot vector.

    Of conditions `[b, 2]`, as data with pairs has them, the first column counts.

    >>> ClassCondition(3).append(torch.zeros(1, 2), torch.tensor([1]))
    tensor([[0., 0., 0., 1., 0.]])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def encoded(self, condition: Tensor | None) -> Tensor:
        """One-hot: float32 `[b, size]`.

        Raises:
            UsageError: no class is given, or one that there is not.
        """
        if condition is None:
            raise UsageError(
                f"this model is conditional (classes={self.size}); give a label per image"
            )
        if condition.ndim > 1:
            condition = condition[:, 0]
        if len(condition) and not _is_recording(condition):
            outside = (condition < 0) | (condition >= self.size)
            if outside.any():
                raise UsageError(
                    f"label {int(condition[outside][0])}: this model has the labels 0 to "
                    f"{self.size - 1}"
                )
        return F.one_hot(condition, self.size).float()

    def random(self, count: int, generator: Generator | None) -> Tensor:
        """int64 `[count]`."""
        return torch.randint(self.size, (count,), generator=generator)


def condition_on(classes: int, text: int = 0) -> Condition:
    """The condition of a model with this many classes, or with texts; 0 and 0: none.

    Args:
        classes: how many there are.
        text: length of the vector that a text becomes.

    Raises:
        UsageError: a negative number, one that no machine can hold, or classes beside texts.
    """
    if not 0 <= text <= MAX_UNITS:
        raise UsageError(f"text must not be negative, or more than {MAX_UNITS:,}: {text}")
    if text and classes:
        raise UsageError("a model is conditional on classes or on texts, not on both")
    if text:
        from anogen.nets.text import TextCondition

        return TextCondition(text)
    if not 0 <= classes <= MAX_UNITS:
        raise UsageError(f"classes must not be negative, or more than {MAX_UNITS:,}: {classes}")
    return ClassCondition(classes) if classes else NoCondition()


def repeated(condition: Tensor | None, times: int) -> Tensor | None:
    """The conditions of a batch, once more for each of several batches side by side."""
    return None if condition is None else torch.cat([condition] * times)


def _is_recording(condition: Tensor) -> bool:
    """Whether a graph is being made of what is computed, during which no value can be looked at."""
    if torch.compiler.is_compiling():
        return True
    return condition.is_cuda and torch.cuda.is_current_stream_capturing()
