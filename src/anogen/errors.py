"""Every error that a user can cause: what was wrong, where, what to do, and the exit code."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any


class AnogenError(Exception):
    """Base of all errors with a one-line message for the user; `exit_code` is the shell's."""

    exit_code = 1


class UsageError(AnogenError, ValueError):
    """The request itself makes no sense: an unknown name, an impossible combination (exit 2)."""

    exit_code = 2


class DataError(AnogenError, ValueError):
    """The data cannot be used: missing, corrupt, of the wrong shape or range (exit 3)."""

    exit_code = 3


class TrainingError(AnogenError, RuntimeError):
    """Training cannot go on: a loss is not finite, memory ran out (exit 4)."""

    exit_code = 4


class DivergenceError(TrainingError):
    """A loss or a weight is no longer finite.

    Args:
        what: is not finite, and when.
        kept: which checkpoint keeps the last finite state; empty where nobody can reach it.
        advice: what to try.
    """

    def __init__(self, what: str, kept: str, advice: str) -> None:
        super().__init__(". ".join(part for part in (what, kept, advice) if part))
        self.what, self.kept, self.advice = what, kept, advice

    def __reduce__(self) -> Any:
        """An error crosses from one process to another as its arguments."""
        return type(self), (self.what, self.kept, self.advice)


class MachineError(AnogenError, OSError):
    """The machine refuses: full disk, read-only folder, damaged checkpoint (exit 5)."""

    exit_code = 5


class Interrupted(AnogenError):
    """A signal stopped the work after its state was saved (exit 128 + signal)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def checked_seed(seed: int) -> int:
    """The seed, if every generator takes it: 0 to 2⁶³ − 1.

    Raises:
        UsageError: it is not.
    """
    if isinstance(seed, Integral) and not 0 <= int(seed) <= MOST:
        raise UsageError(f"seed must lie between 0 and {MOST}, found {seed}")
    return whole_number("seed", seed)


def first_line(error: BaseException) -> str:
    """What an error of another library says, as far as it fits into a line of ours.

    >>> first_line(ValueError("of no use")), first_line(KeyError())
    ('of no use', 'KeyError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


MOST = 2**63 - 1
"""No setting is a larger number."""


def whole_number(name: str, value: Any) -> int:
    """The value as an int, if it is a whole number and neither text nor a bool.

    Raises:
        UsageError: it is not.

    >>> whole_number("epochs", 3)
    3
    >>> whole_number("epochs", "3")
    Traceback (most recent call last):
    anogen.errors.UsageError: epochs must be a whole number, found '3'
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{name} must be a whole number, found {value!r}")
    if abs(int(value)) > MOST:
        raise UsageError(f"{name} must be at most {MOST:.2g}, found a number with more digits")
    return int(value)


def finite_number(name: str, value: Any) -> float:
    """The value as a float, if it is a finite number and neither text nor a bool.

    Raises:
        UsageError: it is not.

    >>> finite_number("beta", float("inf"))
    Traceback (most recent call last):
    anogen.errors.UsageError: beta must be a finite number, found inf
    """
    if isinstance(value, Integral):
        return float(whole_number(name, value))
    if not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, found {value!r}")
    return float(value)


def true_or_false(name: str, value: Any) -> bool:
    """The value, if it is a bool.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, found {value!r}")
    return value


def finite_numbers(content: Any, what: str) -> None:
    """Refuse results that are not finite, of which no JSON can be made.

    Raises:
        TrainingError: a number in it is NaN or infinite: the weights are of no use.
    """
    if isinstance(content, Mapping):
        content = content.values()
    if isinstance(content, float) and not math.isfinite(content):
        raise TrainingError(
            f"{what} are not finite: the weights are damaged or of a training that diverged; try "
            "another checkpoint, or train again"
        )
    if isinstance(content, Iterable) and not isinstance(content, str):
        for each in content:
            finite_numbers(each, what)


def unknown_name(kind: str, name: str, names: Iterable[str]) -> UsageError:
    """The error for a name that is in no table, with the nearest known ones.

    >>> print(unknown_name("data set", "minst", ["mnist", "digits"]))
    unknown data set 'minst'; did you mean 'mnist'? (known: digits, mnist)
    """
    names, name = sorted(names), str(name)
    folded = {entry.lower(): entry for entry in names}
    close = get_close_matches(name.lower(), folded, n=1)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return UsageError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
