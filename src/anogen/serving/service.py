"""All that the requests of one process share."""

import asyncio
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from anogen.errors import unknown_name
from anogen.serving.answers import HTTPError
from anogen.serving.batching import Batcher, Work
from anogen.serving.metrics import Metrics
from anogen.serving.served import Served
from anogen.serving.settings import Settings
from anogen.serving.store import Store

T = TypeVar("T")
READERS = 2
"""Threads that read pictures and rows, and as many that ask the store."""


@dataclass
class Service:
    """Runs, the thread that computes, the threads that read, and the store.

    Attributes:
        runs: by name.
        settings: limits.
        store: of scores and verdicts; None: nothing is kept.
        metrics: that it counts.
        stopping: whether it is about to stop.
    """

    runs: Mapping[str, Served]
    settings: Settings
    store: Store | None = None
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False
    batcher: Batcher = field(init=False)
    _readers: ThreadPoolExecutor = field(init=False, repr=False)
    _asking: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.settings.max_queue, self.settings.max_held_bytes)
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._asking = ThreadPoolExecutor(READERS, "store")

    def start(self) -> None:
        """Let all threads run."""
        self.batcher.start()
        if self.store is not None:
            self.store.start()

    def stop(self) -> None:
        """Finish what waits, write what is to be kept, and end the threads."""
        self.stopping = True
        self._readers.shutdown()
        self._asking.shutdown()
        self.batcher.stop()
        if self.store is not None:
            self.store.stop()

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.batcher.alive and not self.stopping

    def find(self, name: str | None) -> Served:
        """The run of a name; where there is only one, it needs none.

        Raises:
            HTTPError: 404, there is none of that name; 400, there are several and none is named.
        """
        if name is None:
            if len(self.runs) > 1:
                raise HTTPError(400, f"name a run: ?model= one of {', '.join(self.runs)}")
            return next(iter(self.runs.values()))
        if name not in self.runs:
            raise HTTPError(404, str(unknown_name("model", name, self.runs)))
        return self.runs[name]

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function gives, in one of the threads that read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)

    async def ask_store(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function gives that may have to wait for the store, in a thread for these."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._asking, function, *arguments)

    async def compute(
        self, key: Hashable, work: Work, payload: Any, items: int, until: float, size: int = 0
    ) -> Any:
        """What `work` makes of a payload; see `Batcher.do`."""
        try:
            return await self.batcher.do(key, work, payload, items, until, size)
        finally:
            self.metrics.waiting(self.batcher.waiting)

    def patience(self, request: Request) -> float:
        """How many seconds a request may take from its last byte on.

        Raises:
            HTTPError: it asks for something else than a positive number.
        """
        longest = self.settings.deadline_s
        return min(number_of(request, "deadline_s", longest, 1e-3, 1e9), longest)


def number_of(request: Request, name: str, usual: float, least: float, most: float) -> float:
    """A number in a request's query.

    Raises:
        HTTPError: 400, it is none, or out of bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return usual
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise HTTPError(400, f"{name} must be a number from {least:g} to {most:g}")
    return number


def refuse_unknown(request: Request, known: Sequence[str]) -> None:
    """Raise an `HTTPError` for a name in a request's query that means nothing."""
    for name in request.query_params:
        if name not in known:
            raise HTTPError(400, str(unknown_name("parameter", name[:100], known)))


def flag_of(request: Request, name: str, usual: str = "0") -> bool:
    """A yes or no in a request's query: `?name=1`.

    Raises:
        HTTPError: 400, something else.
    """
    text = request.query_params.get(name, usual).lower()
    if text not in ("", "0", "1", "false", "true"):
        raise HTTPError(400, f"{name} must be 0 or 1")
    return text in ("", "1", "true")


def new_names(count: int) -> list[str]:
    """Unique names for so many items."""
    stem = uuid.uuid4().hex[:20]
    return [f"{stem}-{index}" for index in range(count)]
