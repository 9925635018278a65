"""How a model is trained: one frozen value, from which signature, YAML and options come."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from anogen.configuration import plain
from anogen.errors import (
    UsageError,
    checked_seed,
    finite_number,
    true_or_false,
    unknown_name,
    whole_number,
)

Precision = Literal["auto", "bfloat16", "float32"]
Schedule = Literal["constant", "cosine"]
LearningRate = float | dict[str, float]
"""One for all players, or one for each by name."""

MAY_CHANGE = frozenset(
    {"epochs", "device", "patience", "threads", "checkpoint_every_s", "tensorboard", "cuda_graphs",
     "fit_sampler", "data", "data_dir"}
)  # fmt: skip
"""What a resumed run may have other values of: where data lies too, for its hashes must be the
same."""


BATCH_SIZE, LEAST_BATCH_SIZE, LEAST_STEPS = 128, 16, 8
"""The usual batch; how small it may get where there are few images, so that an epoch has so many
steps."""


MOST_THREADS = 1024
OPTIONAL = ("patience", "clip_gradient", "ema_decay", "batch_size", "threads")
"""Numbers that need not be given."""


@dataclass(frozen=True)
class TrainingSettings:
    """How `anogen.fit` trains.

    Args:
        epochs: passes over the training images, in all.
        batch_size: images per step; those left over at the end of an epoch wait for another one.
            Default: 128, or as few, down to 16, as give an epoch of few images eight steps.
        learning_rate: Adam's; one number, or one for each player by name.
        schedule: `constant`, or `cosine` down to 0 at the last step.
        warmup_steps: steps over which the learning rate grows from 0; at most a tenth of all.
        betas: Adam's decay rates.
        clip_gradient: largest norm of a player's gradient; default: not clipped.
        ema_decay: where given, a moving average of the weights with this decay is what is
            evaluated and kept, for example 0.999; it starts smaller, at step / (step + 10), so
            that the first weights are soon forgotten.
        monitor: validation metric by which the best checkpoint is kept, lower is better: a loss or
            a term of the model, or `frechet_distance`, of samples; default: the model's own, if it
            has one.
        patience: epochs without improvement of `monitor` after which training stops.
        seed: of everything random in training; weights are drawn before, when a model is made.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto` takes bfloat16 for matrix products where the device is fast at it.
        threads: of the processor. Default: all cores, or, where other processes use some of them,
            those that are left, at least one; a resumed run keeps its number, on which the last
            bits of results depend.
        checkpoint_every_s: seconds between checkpoints within an epoch; each epoch ends with one.
        tensorboard: also write TensorBoard event files.
        fit_sampler: when training is over, fit a Gaussian mixture to the encoded training images,
            from which samples of the run will come; for models that encode.
        cuda_graphs: on a GPU, record steps as CUDA graphs and replay them, where the model's class
            says that they may be: the same results in less time.

    Raises:
        UsageError: a value that makes no sense.

    Examples:
        >>> settings = TrainingSettings(epochs=3)
        >>> settings.for_images(60_000).batch_size, settings.for_images(300).batch_size
        (128, 32)
    """

    epochs: int = 10
    batch_size: int | None = None
    learning_rate: LearningRate = 1e-3
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_gradient: float | None = None
    ema_decay: float | None = None
    monitor: str | None = None
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    checkpoint_every_s: float = 60.0
    tensorboard: bool = False
    fit_sampler: bool = True
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        optional = {name for name in OPTIONAL if getattr(self, name) is None}
        for name in {"epochs", "batch_size", "warmup_steps", "patience", "threads"} - optional:
            whole_number(name, getattr(self, name))
        for name in (
            "epochs",
            "batch_size",
            "checkpoint_every_s",
            "clip_gradient",
            "patience",
            "threads",
        ):
            value = getattr(self, name)
            if name not in optional and finite_number(name, value) <= 0:
                raise UsageError(f"{name} must be positive, found {value}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"threads must be at most {MOST_THREADS}, found {self.threads}")
        for name in ("tensorboard", "fit_sampler", "cuda_graphs"):
            true_or_false(name, getattr(self, name))
        monitor: Any = self.monitor
        if monitor is not None and not (isinstance(monitor, str) and monitor):
            raise UsageError(f"monitor is the name of a metric, found {monitor!r}")
        for rate in self._rates():
            if finite_number("learning_rate", rate) <= 0:
                raise UsageError(f"learning_rate must be positive, found {rate}")
        for name, choices in (("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise unknown_name(name, str(getattr(self, name)), get_args(choices))
        self._check_betas()
        if self.warmup_steps < 0:
            raise UsageError(f"warmup_steps must not be negative, found {self.warmup_steps}")
        if self.batch_size is not None and self.batch_size < 2:
            raise UsageError(
                "batch_size must be at least 2, because normalisation needs two images"
            )
        if self.ema_decay is not None and not 0 < finite_number("ema_decay", self.ema_decay) < 1:
            raise UsageError(f"ema_decay must lie between 0 and 1, found {self.ema_decay}")
        checked_seed(self.seed)

    def _rates(self) -> list[Any]:
        rate: Any = self.learning_rate
        if isinstance(rate, dict) and not (rate and all(isinstance(name, str) for name in rate)):
            raise UsageError(f"learning_rate is a number, or one for each player, found {rate!r}")
        return list(rate.values()) if isinstance(rate, dict) else [rate]

    def _check_betas(self) -> None:
        betas: Any = self.betas
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise UsageError(f"betas must be two numbers in [0, 1), found {betas}")
        if not all(0 <= finite_number("betas", beta) < 1 for beta in betas):
            raise UsageError(f"betas must be two numbers in [0, 1), found {list(betas)}")
        object.__setattr__(self, "betas", (betas[0], betas[1]))

    @classmethod
    def of(cls, given: "TrainingSettings | None", changes: Mapping[str, Any]) -> "TrainingSettings":
        """Settings with some of them changed by name.

        Raises:
            TypeError: there is no such setting.
            UsageError: a value that makes no sense.
        """
        kind: Any = given
        if kind is not None and not isinstance(kind, cls):
            raise UsageError(
                f"settings are an anogen.TrainingSettings, found {given!r}; single ones are given "
                "by name, such as epochs=5"
            )
        names = [field.name for field in fields(cls)]
        for name in changes:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"fit() has no setting {name!r}{hint}")
        return cls(**{**({} if given is None else given.as_dict()), **changes})

    def for_images(self, count: int) -> "TrainingSettings":
        """The same with what depends on the number of training images decided."""
        if self.batch_size is not None:
            return self
        fitting = 2 ** int(math.log2(max(1, count / LEAST_STEPS)))
        return replace(self, batch_size=min(BATCH_SIZE, max(LEAST_BATCH_SIZE, fitting)))

    def warmup(self, total_steps: int) -> int:
        """The steps of the warm-up, in a training of so many steps."""
        return min(self.warmup_steps, total_steps // 10)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON and YAML know them."""
        return plain(asdict(self))
