"""One progress display: a bar on a terminal, plain lines elsewhere, nothing for short work."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from anogen.printable import printable

QUIET_S = 2.0
"""Work shorter than this shows nothing."""
LINE_EVERY_S = 20.0
"""Without a terminal, one line at most this often."""


class Progress:
    """Counts work done and shows rate and time left on standard error.

    Args:
        title: what is being done, for example `"epoch 3/50"`.
        total: how many units there are.
        unit: what is counted, for example `"images"`.
        done: units that were already done (a resumed run).
    """

    def __init__(self, title: str, total: int, unit: str = "images", done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._first = done
        self._start = self._last_line = time.monotonic()
        self._terminal = is_terminal(sys.stderr)
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        return self

    def advance(self, count: int, note: str = "") -> None:
        """Add `count` units; `note` is shown beside the bar (loss terms, file names)."""
        self.done += count
        now = time.monotonic()
        if now - self._start < QUIET_S:
            return
        if self._terminal and not _silent.get():
            self._draw(note)
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            left = (self.total - self.done) / max(self.rate, 1e-9)
            say(f"{self.title}: {self.done}/{self.total} {self.unit}, "
                f"{self.rate:,.0f}/s, {left:.0f} s left  {note}")  # fmt: skip

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def _draw(self, note: str) -> None:
        if self._bar is None:
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what width is left
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", table_column=rest),
            )
            console = Console(stderr=True)
            self._bar = RichProgress(*columns, console=console, transient=True, expand=True)
            self._bar.add_task(printable(self.title), total=self.total, note="")
            self._bar.start()
        note = printable(f"{self.rate:,.0f} {self.unit}/s  {note}")
        self._bar.update(self._bar.task_ids[0], completed=self.done, note=note)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silence() -> Generator[None]:
    """Nothing is shown in the block: for work inside of other libraries' tools."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def say(line: str) -> None:
    """Print one line for the reader, on standard error, so that results stay alone on stdout.

    Where standard error is missing, closed or full, as in services, the work goes on in silence.
    """
    if _silent.get() or sys.stderr is None:
        return
    with suppress(OSError, ValueError):  # the latter: closed
        print(encodable(printable(line), sys.stderr), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result on standard output, whatever characters are in it.

    Raises:
        OSError: standard output is full, or its reader has gone.
    """
    if sys.stdout is not None:
        print(encodable(printable(text, keep="\n"), sys.stdout), flush=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is there and somebody looks at it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def encodable(text: str, stream: TextIO) -> str:
    """The text with what a stream's encoding lacks written as escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def stage(title: str) -> Generator[None]:
    """Say what starts and how long it took: for stages of a longer job."""
    say(f"{title} ...")
    start = time.monotonic()
    yield
    say(f"{title}: done in {time.monotonic() - start:.1f} s")
