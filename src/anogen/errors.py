"""Every error that a user can cause: what was wrong, where, what to do, and the exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


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
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed must lie between 0 and {2**63 - 1}, found {seed}")
    return seed


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is in no table, with the nearest known ones.

    >>> print(unknown_name("data set", "minst", ["mnist", "digits"]))
    unknown data set 'minst'; did you mean 'mnist'? (known: digits, mnist)
    """
    known = sorted(known)
    folded = {entry.lower(): entry for entry in known}
    close = get_close_matches(name.lower(), folded, n=1)
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    return UsageError(f"unknown {kind} {name!r}; {hint}(known: {', '.join(known)})")
