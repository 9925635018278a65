"""Restoring images: one function for every model that can, by three ways."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.array_layout import Layout, in_channels, out_of_channels
from anogen.data.corruptions import HOLE, Part, parts_of
from anogen.device import choose_device, memory_advice, own_randomness
from anogen.errors import (
    DataError,
    UsageError,
    checked_seed,
    finite_number,
    unknown_name,
    whole_number,
)
from anogen.models.base import GenerativeModel, HasPosterior, Model, Reconstructs, refuse_no_model
from anogen.models.restorer import Restorer
from anogen.restoration.intervals import Intervals
from anogen.restoration.posterior import posterior_samples
from anogen.restoration.prior import most_likely
from anogen.restoration.tiles import TILE, restored
from anogen.run import Run

Method = Literal["auto", "net", "posterior", "prior"]
STEPS = 300
INVERTED = ("gaussian_noise", "poisson_noise", "blur")
"""Damage that the way `prior` can be told of, beside a mask."""


@dataclass(frozen=True)
class Restored:
    """Images as they may have been.

    Attributes:
        images: in the layout and type of those that were given.
        method: by which way they were restored.
        samples: further ones that could have been, drawn from the posterior, `[samples, …]`; or
            None.
        low: the lower ends of the intervals of pixels, laid out like the images; or None.
        high: the upper ends.
    """

    images: NDArray[Any]
    method: str
    samples: NDArray[Any] | None = None
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None


@dataclass(frozen=True)
class Restoring:
    """How images are restored.

    Args:
        method: `net`, one pass of a `Restorer`; `posterior`, one pass of a model that encodes: what
            it decodes from the posterior's mean; `prior`, latents of a model that draws images,
            fitted to what was seen by gradient descent; `auto`: `net` of a `Restorer`, `posterior`
            of a model that was trained with a corruption and encodes, else `prior`.
        damage: what the way `prior` is to undo, such as `blur=2` or `gaussian_noise=0.2`; noise is
            estimated by default.
        level: standard deviation of the noise, full range 1, for a `Restorer` that is not blind;
            default: estimated from each image.
        samples: further images that could have been, for the way `posterior`.
        interval: share of the pixels that are to lie between `low` and `high`, such as 0.9; for
            runs that were trained with a corruption, whose validation images calibrate it.
        steps: of the gradient descent of `prior`.
        seed: of its starts, and of samples.
        tile: height and width of the pieces in which a `Restorer` works on larger images.

    Raises:
        UsageError: a value that makes no sense.
    """

    method: Method = "auto"
    damage: str | None = None
    level: float | None = None
    samples: int = 0
    interval: float | None = None
    steps: int = STEPS
    seed: int = 0
    tile: int = TILE

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise unknown_name("method", str(self.method), get_args(Method))
        for part in self.undone:
            if part.name not in INVERTED:
                raise UsageError(f"damage {part.name}: {', '.join(INVERTED)} can be undone, and "
                                 "holes, by a mask")  # fmt: skip
        if self.level is not None and not 0 <= finite_number("level", self.level) <= 10:
            raise UsageError(f"level must lie between 0 and 10, found {self.level}")
        if not 0 <= whole_number("samples", self.samples) <= 1000:
            raise UsageError(f"samples must lie between 0 and 1000, found {self.samples}")
        if self.interval is not None and not 0 < finite_number("interval", self.interval) < 1:
            raise UsageError(f"interval must lie between 0 and 1, found {self.interval}")
        if whole_number("steps", self.steps) < 1:
            raise UsageError(f"steps must be at least 1, found {self.steps}")
        if whole_number("tile", self.tile) < 64:
            raise UsageError(f"tile must be at least 64, found {self.tile}")
        checked_seed(self.seed)

    @property
    def undone(self) -> list[Part]:
        """The damage that the way `prior` undoes."""
        parts = [] if self.damage is None else parts_of(self.damage, "damage")
        if len({part.name for part in parts}) < len(parts) or any(p.low != p.high for p in parts):
            raise UsageError(f"damage {self.damage}: give one strength for each kind")
        return parts

    @property
    def blur(self) -> float:
        """What the way `prior` is to undo of it, in pixels."""
        return max((part.high for part in self.undone if part.name == "blur"), default=0.0)

    @property
    def noise(self) -> float | None:
        """Standard deviation of the noise that the way `prior` is told of.

        Of photons it is that of a pixel of half grey.
        """
        noises = [
            part.high if part.name == "gaussian_noise" else (0.5 / part.high) ** 0.5
            for part in self.undone
            if part.name != "blur"
        ]
        return math.hypot(*noises) if noises else None

    def way(self, model: Model, masked: bool) -> str:
        """By which way a model restores.

        Raises:
            UsageError: it cannot restore, not by the way that is asked for, or not with a mask.
        """
        kind, learnt = type(model).__name__, [] if model.damage is None else model.damage.parts
        for_holes = any(part.name == "holes" for part in learnt)
        posterior = isinstance(model, Reconstructs) and isinstance(model, GenerativeModel)
        if self.method == "auto":
            chosen = "net" if isinstance(model, Restorer) else "prior"
            learnt_it = bool(learnt) and not self.damage and (for_holes or not masked)
            if posterior and learnt_it and not model.condition.size:
                chosen = "posterior"
        else:
            chosen = self.method
        able = {"net": isinstance(model, Restorer), "posterior": posterior,
                "prior": isinstance(model, GenerativeModel)}  # fmt: skip
        if not able[chosen]:
            ways = [way for way, can in able.items() if can]
            raise UsageError(f"a {kind} does not restore by {chosen}"
                             + (f"; choose {' or '.join(ways)}" if ways else ""))  # fmt: skip
        if masked and chosen != "prior" and not for_holes:
            raise UsageError(
                f"this {kind} has not learnt to fill holes; train one with a corruption holes, or "
                "take a model that draws images"
            )
        if model.condition.size and chosen == "posterior":
            raise UsageError(f"this {kind} is conditional on labels or texts, which nobody knows "
                             "here; choose prior")  # fmt: skip
        if self.samples and not (chosen == "posterior" and isinstance(model, HasPosterior)):
            raise UsageError(f"samples are drawn by the way posterior, not by {chosen}")
        if self.level is not None and (not isinstance(model, Restorer) or model.blind):
            raise UsageError("level is for a Restorer that was trained with blind false")
        if self.level is not None and self.interval:
            raise UsageError("intervals are calibrated for levels that are estimated; give one")
        spreads = chosen == "net" or isinstance(model, HasPosterior)
        if self.interval and (chosen == "prior" or not learnt or not spreads):
            raise UsageError("interval is for a run that was trained with a corruption")
        if self.damage and chosen != "prior":
            raise UsageError(
                f"damage is what the way prior undoes; {chosen} undoes what it has learnt"
            )
        return chosen


def restore(
    model: Model | Run | str | Path,
    images: NDArray[Any],
    *,
    mask: NDArray[Any] | None = None,
    settings: Restoring | None = None,
    intervals: Intervals | None = None,
    device: str = "auto",
    **changes: Any,
) -> Restored:
    """Images as they may have been before they were damaged.

    A `Restorer` takes images of any size, and colours one by one if it has learnt grey; other
    models take images of their own size only. Each image is restored by itself, so that it gives
    the same result in any company.

    Args:
        model: a model, a run, or the path of a run. With the device `auto` a model stays where it
            lies.
        images: `[h, w]`, `[h, w, 3]`, `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]` with 1 or 3
            channels; uint8, uint16, bool, or floats, white 1, which may lie outside [0, 1].
        mask: where pixels are missing: bool or numbers, not 0 where they are, `[h, w]` or
            `[n, h, w]`. All other pixels stay as they are.
        settings: how; default: those of `Restoring()`.
        intervals: calibrated ones, see `Intervals`; default: those of the run, where the settings
            ask for an interval.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        changes: single settings by name, such as `samples=10`; see `Restoring`.

    Raises:
        UsageError: the model cannot do what is asked.
        DataError: images or a mask of the wrong shape or type.
        TrainingError: memory ran out.

    Examples:
        >>> import anogen, torch
        >>> _ = torch.manual_seed(0)
        >>> model = anogen.Restorer((1, 16, 16), width=4)
        >>> noisy = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
        >>> anogen.restore(model, noisy).images.shape
        (40, 50, 3)
    """
    run = Run.open(model) if isinstance(model, str | Path) else model
    model = run.load_model() if isinstance(run, Run) else run
    refuse_no_model(model, "restore")
    given_settings: Any = settings
    if given_settings is not None and not isinstance(given_settings, Restoring):
        raise UsageError(f"settings are an anogen.Restoring, found {given_settings!r}")
    unknown = set(changes) - {each.name for each in fields(Restoring)}
    if unknown:
        raise unknown_name("setting", min(unknown), [each.name for each in fields(Restoring)])
    how = settings or Restoring()
    if changes:
        how = Restoring(**{**vars(how), **changes})
    way = how.way(model, mask is not None)
    if intervals is None and how.interval is not None:
        if not isinstance(run, Run):
            raise UsageError("interval needs a run, whose validation images calibrate it")
        intervals = Intervals.of_run(run, model, how.interval)
    layout, given = Layout.read(images)
    missing = None if mask is None else _mask(mask, given)
    if isinstance(run, Run) or device != "auto":
        model = model.to(choose_device(device))
    target = next(model.parameters()).device
    count, channels = given.shape[:2]
    x = in_channels(given, model.shape[0])
    gone = None if missing is None else missing.repeat_interleave(len(x) // count, 0)
    if way != "net" and x.shape[1:] != model.shape:
        raise DataError(
            f"images of {tuple(given.shape[1:])}: the model is for {model.shape}; only a Restorer "
            "takes images of other sizes"
        )
    if gone is not None:
        x = torch.where(gone, x.new_tensor(HOLE / 255), x)
    trained = model.training
    advice = "give a smaller tile" if way == "net" else "take a machine with more memory"
    results: list[_One] = []
    try:
        model.eval()
        with own_randomness(), torch.no_grad(), memory_advice(advice):
            for index in range(len(x)):
                one = x[index : index + 1].to(target)
                holes = None if gone is None else gone[index : index + 1].to(target)
                results.append(_restored(way, model, one, holes, how, intervals))
    finally:
        model.train(trained)

    def given_back(parts: Sequence[Tensor]) -> NDArray[Any]:
        found = layout.array(out_of_channels(torch.cat(list(parts)), count, channels))
        return found if missing is None else np.where(layout.plane(missing), found, images)

    def each_of(number: int) -> NDArray[Any] | None:
        parts = [part for one in results if (part := one[number]) is not None]
        return given_back(parts) if parts else None

    drawn = [given_back([one.samples[k] for one in results]) for k in range(how.samples)]
    return Restored(
        given_back([one.image for one in results]), way, np.stack(drawn) if drawn else None,
        each_of(2), each_of(3),
    )  # fmt: skip


class _One(NamedTuple):
    """What was made of one image, each `[1, c, h, w]`, samples `[samples, 1, c, h, w]`."""

    image: Tensor
    samples: Tensor
    low: Tensor | None
    high: Tensor | None


def _restored(
    way: str, model: Model, x: Tensor, gone: Tensor | None, how: Restoring,
    intervals: Intervals | None,
) -> _One:  # fmt: skip
    samples = x.new_zeros(0)
    if way == "net":
        level = None if how.level is None else x.new_full((1,), how.level)
        found = restored(cast(Restorer, model), x, level, how.tile)
    elif way == "prior":
        known = None if gone is None else ~gone
        found = most_likely(cast(GenerativeModel, model), x, known=known, steps=how.steps,
                            seed=how.seed, blur=how.blur, noise=how.noise)  # fmt: skip
    else:
        found = cast(Any, model).reconstruct(x)
        if how.samples:
            samples = posterior_samples(model, x, how.samples, how.seed).cpu()
    low, high = (None, None) if intervals is None else intervals.around(model, x, found)
    return _One(found.cpu(), samples, None if low is None else low.cpu(),
                None if high is None else high.cpu())  # fmt: skip


def _mask(mask: NDArray[Any], images: Tensor) -> Tensor:
    """Where pixels are missing, bool `[n, 1, h, w]`."""
    values = np.asarray(mask)
    if values.dtype.kind not in "buif" or values.ndim not in (2, 3):
        raise DataError(f"a mask is bool or numbers, [h, w] or [n, h, w], found {values.dtype} "
                        f"{list(values.shape)}")  # fmt: skip
    values = values[None] if values.ndim == 2 else values
    count, _, height, width = images.shape
    if values.shape[1:] != (height, width) or len(values) not in (1, count):
        raise DataError(
            f"a mask of {list(values.shape)} does not fit {count} images of {width}×{height}"
        )
    if not np.isfinite(values.astype(np.float64)).all():
        raise DataError("a mask has values that are no numbers")
    missing = torch.from_numpy(values != 0)[:, None]
    return missing.expand(count, -1, -1, -1)
