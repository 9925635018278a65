"""What a service allows: what comes from outside is bounded before it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from anogen.errors import UsageError, finite_number, unknown_name, whole_number


@dataclass(frozen=True)
class Settings:
    """Limits and habits of a service; options of `anogen serve` and keys of its `--config`.

    Attributes:
        fpr: share of in-distribution examples that may be called out, where a request does not say
            another; None: as in the run's training, or 0.01, or what its calibration supports.
        max_megabytes: of one request.
        max_held_megabytes: of all requests that are not answered yet, and of the pictures and rows
            that were read from them, each in one process; beyond them a request gets 429.
        max_items: pictures or rows of one request.
        max_queue: items of all requests that are waiting or in work, in one process; beyond them a
            request gets 429.
        max_connections: open at a time, in one process; beyond them a request gets 503.
        deadline_s: longest time from a request's last byte to its answer; a request may ask for a
            shorter one.
        body_s: longest time in which a request's bytes must have come.
        grace_s: after a signal to stop, how long connections that are open may still send.
        watch_level: the probability of a false alarm of each watch.
        keep_rows: scored items that the store keeps, the last ones.
        training_examples: at most so many are looked through for the nearest ones.
    """

    fpr: float | None = None
    max_megabytes: float = 64.0
    max_held_megabytes: float = 512.0
    max_items: int = 4096
    max_queue: int = 16_384
    max_connections: int = 4096
    deadline_s: float = 30.0
    body_s: float = 30.0
    grace_s: float = 2.0
    watch_level: float = 0.01
    keep_rows: int = 1_000_000
    training_examples: int = 10_000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "fpr" and value is None:
                continue
            check: Any = whole_number if each.type is int else finite_number
            if check(each.name, value) <= 0:
                raise UsageError(f"{each.name} must be above 0, found {value}")
        for name in ("fpr", "watch_level"):
            value = getattr(self, name)
            if value is not None and value >= 1:
                raise UsageError(f"{name} lies between 0 and 1, found {value}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From names and values.

        Raises:
            UsageError: an unknown name, or a value that makes no sense.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown_name("setting", name, known)
        return cls(**given)

    def most_items(self, values: int) -> int:
        """Of one request, of so many values each, for what is small when sent may be large."""
        return max(1, min(self.max_items, self.max_held_bytes // (4 * values)))

    @property
    def max_held_bytes(self) -> int:
        """Of all requests together."""
        return int(self.max_held_megabytes * (1 << 20))

    @property
    def max_bytes(self) -> int:
        """Of one request."""
        return int(self.max_megabytes * (1 << 20))
