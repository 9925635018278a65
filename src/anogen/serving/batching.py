"""One thread that computes: requests that wait together are scored together, without a change.

What a detector gives for an image does not depend on its company (`anogen.detection.view`), so that
batches may be made of whatever is waiting.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from anogen.progress import silence
from anogen.serving.answers import HTTPError

LEAST, MOST = 64, 256
"""Items that are computed at once: of those that wait about half, within these bounds, so that some
requests are read while others are computed; a request that has more is computed alone."""

Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes payloads of jobs of one key, and gives as many results."""


@dataclass(eq=False)
class Job:
    """Work that waits.

    Attributes:
        key: jobs of one key are done together.
        work: payloads of such jobs → as many results.
        payload: of this one.
        items: how many pictures or rows it has.
        size: bytes of the payload.
        until: of the monotonic clock, when nobody waits for it any more.
        loop: to which the result goes.
        future: that gets it.
    """

    key: Hashable
    work: Work
    payload: Any
    items: int
    size: int
    until: float
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


@dataclass
class Batcher:
    """The queue and the thread.

    Attributes:
        most: items that may wait or be in work; a request that comes on top is refused.
        most_bytes: of their pixels.
        waiting: items that do.
        held: bytes of their pixels.
    """

    most: int
    most_bytes: int
    waiting: int = 0
    held: int = 0
    _jobs: "deque[Job]" = field(default_factory=deque["Job"], repr=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _rate: float = 1000.0
    _stopped: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Let the thread run."""
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Finish what waits, and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    async def do(
        self,
        key: Hashable,
        work: Work,
        payload: Any,
        items: int,
        until: float,
        size: int = 0,
    ) -> Any:
        """The result of `work` for a payload, when it is its turn.

        Raises:
            HTTPError: 429, too much is waiting; 504, it was not done in time.
        """
        loop = asyncio.get_running_loop()
        job = Job(key, work, payload, items, size, until, loop, loop.create_future())
        with self._changed:
            full = self.waiting + items > self.most or self.held + size > self.most_bytes
            if self.waiting and full:
                seconds = max(1, round(self.waiting / max(self._rate, 1e-3)))
                raise HTTPError(
                    429, f"{self.waiting} items are waiting already; try again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )  # fmt: skip
            self.waiting += items
            self.held += size
            self._jobs.append(job)
            self._changed.notify()
        try:
            async with asyncio.timeout_at(loop.time() + until - time.monotonic()):
                return await job.future
        except TimeoutError as error:
            raise HTTPError(504, "not done before the deadline; send less at a time") from error

    def _run(self) -> None:
        with silence():
            while batch := self._next():
                start = time.monotonic()
                wanted = [job for job in batch if job.until > start and not job.future.done()]
                answers = self._compute(wanted)
                with self._changed:
                    self.waiting -= sum(job.items for job in batch)
                    self.held -= sum(job.size for job in batch)
                for job, result, error in answers:
                    _give(job, result, error)
                if wanted:
                    seconds = max(time.monotonic() - start, 1e-6)
                    self._rate += 0.1 * (sum(job.items for job in wanted) / seconds - self._rate)

    def _next(self) -> list[Job]:
        """The first job and those of its key that wait behind it; none at the end."""
        with self._changed:
            while not self._jobs and not self._stopped:
                self._changed.wait()
            if not self._jobs:
                return []
            first = self._jobs.popleft()
            batch, items = [first], first.items
            most = min(MOST, max(LEAST, self.waiting // 2))
            rest: deque[Job] = deque()
            while self._jobs:
                job = self._jobs.popleft()
                if job.key == first.key and items + job.items <= most:
                    batch.append(job)
                    items += job.items
                else:
                    rest.append(job)
            self._jobs = rest
            return batch

    def _compute(self, batch: list[Job]) -> "list[tuple[Job, Any, Exception | None]]":
        """Each job with its result or its error."""
        if not batch:
            return []
        try:
            results = list(batch[0].work([job.payload for job in batch]))
            return [(job, result, None) for job, result in zip(batch, results, strict=True)]
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], None, error)]
        # one of them is to blame, the others are to be served
        return [answer for job in batch for answer in self._compute([job])]


def _give(job: Job, result: Any, error: Exception | None) -> None:
    def settle() -> None:
        if job.future.done():
            return
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)

    with suppress(RuntimeError):  # the loop is closed, nobody waits
        job.loop.call_soon_threadsafe(settle)
