"""The contract of a score: a view of a batch in, one number per image out."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.data.batches import evaluation_batch, in_order
from anogen.data.images import Images, is_table
from anogen.device import memory_advice
from anogen.errors import UsageError
from anogen.models import VAE, VAEGAN
from anogen.models.base import GenerativeModel, HasPosterior, Model, Reconstructs
from anogen.nets import Encoder
from anogen.nets.fold import folded, in_bfloat16

HALVE_THE_VECTOR = (VAE.posterior, VAEGAN.posterior)
"""Methods known to take the encoder's vector apart and to do nothing else."""
DECODE_THE_MEAN = (VAE.reconstruct, VAEGAN.reconstruct)
"""Methods known to decode the posterior's mean and to do nothing else."""
State = dict[str, Tensor]
"""What a score has learnt from in-distribution images: named tensors, saved as they are."""
Derived = dict[tuple[Callable[..., Any], int], tuple[Any, Any]]
S = TypeVar("S")
T = TypeVar("T")


def readable(part: str, kind: Any = Encoder) -> type[type]:
    """A metaclass whose `isinstance` asks whether `model.<part>` is a net of a kind.

    A protocol could only ask whether there is something of that name.
    """

    class Readable(type):
        def __instancecheck__(cls, model: object) -> bool:
            return isinstance(getattr(model, part, None), kind)

    return Readable


class HasEncoder(metaclass=readable("encoder")):
    """What a model is an instance of if its `encoder` is one of `anogen.nets`, with its layers."""


@runtime_checkable
class Discriminates(Protocol):
    """A model that says how real an image seems."""

    def logit(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """float `[b, c, h, w]` → float `[b]`, higher meaning more real."""
        ...


@dataclass(frozen=True, eq=False)
class View:
    """An image batch with what a model makes of it, computed once for all scores.

    Attributes:
        model: in evaluation mode, its batch normalisation folded away.
        x: float32 `[b, c, h, w]` in [0, 1].
        companions: other models that some scores compare with, likewise.
        light: gives the model as `in_bfloat16` makes it.
        found: results that several scores share.
        derived: what was made of states, shared by all views of prepared models.
    """

    model: Model
    x: Tensor
    companions: Sequence[Model] = ()
    light: Callable[[], Model] | None = None
    found: "dict[Callable[[View], Tensor], Tensor]" = field(default_factory=dict, repr=False)
    derived: "Derived" = field(default_factory=dict, repr=False)

    def once(self, function: "Callable[[View], Tensor]") -> Tensor:
        """What a function makes of this view, computed for the first score that asks."""
        if function not in self.found:
            self.found[function] = function(self)
        return self.found[function]

    def of_state(self, function: Callable[[S], T], state: S) -> T:
        """What a function makes of a state, computed once for all views of prepared models."""
        key = (function, id(state))
        if key not in self.derived:
            self.derived[key] = (state, function(state))  # kept too, so that its id stays its own
        return self.derived[key][1]

    def points(self, state: State, name: str) -> "Points":
        """Vectors `[m, d]` of a state, with their lengths, on the device of the images."""
        return self.of_state(Points.of, state[name]).to(self.x.device)

    @cached_property
    def lightly(self) -> "View":
        """The same images, seen in bfloat16."""
        model = self.light() if self.light else self.model
        return View(model, self.x, self.companions, derived=self.derived)

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each `[b, latent]`, of a model that has one."""
        model: Any = self.model
        has_posterior = getattr(type(model), "posterior", None) in HALVE_THE_VECTOR
        if has_posterior and isinstance(self.model, HasEncoder):
            mean, logvar = model.encoder.from_features(self.features).float().chunk(2, 1)
            return mean, logvar  # with the layers at hand for the scores that look at them
        return model.posterior(self.x)

    @cached_property
    def features(self) -> list[Tensor]:
        """What each layer of the model's encoder gives for the images, of a model with one."""
        model: Any = self.model
        return model.encoder.features(self.x)

    @cached_property
    def mean(self) -> Tensor:
        """The posterior's mean, `[b, latent]`, of a model that encodes."""
        model: Any = self.model
        return (
            self.posterior[0]
            if isinstance(self.model, HasPosterior)
            else model.posterior_mean(self.x)
        )

    @cached_property
    def rebuilt(self) -> Tensor:
        """The reconstruction, `[b, c, h, w]`, of a model that has one."""
        if getattr(type(self.model), "reconstruct", None) in DECODE_THE_MEAN:
            return cast(GenerativeModel, self.model).decode(self.mean)  # without encoding again
        return cast(Reconstructs, self.model).reconstruct(self.x)


Plain = Callable[[View], Tensor]
Fitted = Callable[[View, State], Tensor]


@dataclass(frozen=True)
class Score:
    """One score of an image; higher means further out of distribution.

    Attributes:
        function: a view of a batch → `[b]`; where `fit` is given, a view and the state.
        needs: the abilities that the model must have; none: the image alone is judged.
        unit: of the values.
        source: where it comes from.
        passes: through encoder or decoder for each image, about, beside the reconstruction that
            all scores share: its cost.
        fit: model, in-distribution training images and a device → the state; None: nothing is
            learnt.
        companions: least number of other models that it compares with.
        only: `pictures` or `tables`, where it means nothing for the other; None: for both.
        fused: of what the fused score takes it as one of its statistics.
        map: a view, and the state where `fit` is given → `[b, c, h, w]`, how much each pixel adds
            or how unusual its place is; None: it has no map.
        sums: whether the score is the sum of its map; else it is the mean of the largest values.
        package: carries what it is fitted with, and need not be installed.
        trains: whether it is fitted by training a net, which takes minutes.
    """

    function: Plain | Fitted
    needs: tuple[type, ...]
    unit: str
    source: str
    passes: int = 0
    fit: Callable[[Model, Images, torch.device], State] | None = None
    companions: int = 0
    only: Literal["pictures", "tables"] | None = None
    fused: Literal["pictures", "tables"] | None = None
    map: Plain | Fitted | None = None
    sums: bool = True
    package: str | None = None
    trains: bool = False

    def __call__(self, view: View, state: State | None) -> Tensor:
        """The scores of a view, `[b]`."""
        if self.fit is None:
            return view.once(cast(Plain, self.function))
        return cast(Fitted, self.function)(view, state or {})

    def map_of(self, view: View, state: State | None) -> Tensor:
        """The map of a view, `[b, c, h, w]`, of a score that has one."""
        if self.fit is None:
            return cast(Plain, self.map)(view)
        return cast(Fitted, self.map)(view, state or {})

    def fits(self, model: Model) -> bool:
        """Whether the model has what the score needs."""
        able = all(isinstance(model, ability) for ability in self.needs)
        return able and self.only in (None, kind_of(model))


def kind_of(model: Model) -> Literal["pictures", "tables"]:
    """What a model is of."""
    return "tables" if is_table(model.shape) else "pictures"


@dataclass(frozen=True, eq=False)
class Prepared:
    """Models as scores use them, made once: copies on a device, their normalisation folded away.

    What is changed in a model afterwards is not seen here.

    Attributes:
        model: in evaluation mode.
        companions: other models that some scores compare with.
        device: where they are.
        sizes: names of scores → how many images a view of them may have; see `smallest_view`.
        derived: what was made of the states of scores.
    """

    model: Model
    companions: tuple[Model, ...]
    device: torch.device
    sizes: dict[tuple[str, ...], list[int]] = field(
        default_factory=dict[tuple[str, ...], list[int]]
    )
    derived: Derived = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: Model,
        device: torch.device,
        companions: Sequence[Model] = (),
    ) -> "Prepared":
        """From trained models, which stay as they are."""
        prepared, *others = (
            folded(each).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            for each in (model, *companions)
        )
        return cls(prepared, tuple(others), device)

    @cached_property
    def light(self) -> Model:
        """The model as `in_bfloat16` makes it."""
        return in_bfloat16(self.model)

    def view(self, x: Tensor, size: int) -> View:
        """A view of images `[b, c, h, w]`, filled up with black ones to `size`."""
        whole = F.pad(x, (0, 0, 0, 0, 0, 0, 0, size - len(x)))
        whole = whole.contiguous(memory_format=torch.channels_last)
        return View(self.model, whole, self.companions, lambda: self.light, derived=self.derived)


def views(prepared: Prepared, images: Images) -> Iterator[tuple[View, int]]:
    """Views of all images, first to last, each with the number of images in it.

    Every view has the same size, the last one filled up with black images, so that what is made of
    an image does not depend on its company; see `exactly` for the rest.

    Raises:
        UsageError: images of another shape than the model's.
    """
    refuse_shape(prepared, images)
    size = evaluation_batch(images.shape)
    for x, _ in in_order(images, prepared.device):
        yield prepared.view(x, size), len(x)


def refuse_shape(prepared: Prepared, images: Images) -> None:
    """Raise a `UsageError` for images of another shape than the model's."""
    if images.shape != prepared.model.shape:
        raise UsageError(
            f"{images.name}: images of {images.shape}, the model has {prepared.model.shape}"
        )


@contextmanager
def exactly() -> Generator[None]:
    """The block computes in full float32, and by the same algorithm whenever it is asked."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with exact, torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@torch.no_grad()
def collect(
    function: Callable[[View], Tensor],
    model: Model,
    images: Images,
    device: torch.device,
) -> Tensor:
    """What a function makes of all images, float64 `[n, ...]` on the processor."""
    with exactly(), memory_advice("use device cpu, or smaller images"):
        seen = views(Prepared.of(model, device), images)
        values = [function(view)[:n].double().cpu() for view, n in seen]
    return torch.cat(values)


@dataclass(frozen=True, eq=False)
class Points:
    """Vectors from which distances are measured, with what is needed for that of them alone.

    Attributes:
        rows: float64 `[m, d]`.
        squares: their squared lengths, `[m]`.
    """

    rows: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """From vectors `[m, d]`."""
        return cls(rows, rows.square().sum(1))

    def to(self, device: torch.device) -> "Points":
        """The same on a device."""
        return Points(self.rows.to(device), self.squares.to(device))

    def squared_distances(self, others: Tensor) -> Tensor:
        """Squared Euclidean distances of vectors `[b, d]`: float64 `[b, m]`.

        By one matrix product: what is lost to cancellation is below 1e-12 of the squares.
        """
        squares = others.square().sum(1)[:, None] + self.squares - 2 * others @ self.rows.T
        return squares.clamp(min=0)

    def nearest(self, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The squared distances of vectors `[b, d]` from the nearest, ascending, and their places.

        They are looked for by one matrix product, rounded, because its last bits depend on what
        else is in it, and then measured one by one.

        Returns:
            float64 and int64 `[b, count]` each; fewer columns where there are fewer vectors.
        """
        partial = torch.addmm(self.squares, others, self.rows.T, alpha=-2).float()
        places = partial.topk(min(count, len(self.rows)), largest=False).indices
        exact = (self.rows[places] - others[:, None]).square().sum(2)
        nearest, order = exact.sort(dim=1)
        return nearest, places.gather(1, order)
