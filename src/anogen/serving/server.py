"""One process that serves: uvicorn, with bounds on headers and idle clients, and a gentle end."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from anogen.progress import say
from anogen.serving.gate import Gate
from anogen.serving.service import Service

MOST_HEAD = 32_768
"""Bytes of a request's line and headers."""
MOST_BESIDE = 8
"""Bytes of lengths of chunks, for each byte of a body."""
KEEP_ALIVE_S = 30
"""How long a connection may stay open without a request."""
REST_S = 1.0
"""After a connection could not be accepted."""
LOOK_EVERY = 10
"""Ticks of a tenth of a second between two looks at idle connections."""


class Protocol(HttpToolsProtocol):
    """HTTP with a bound on headers, which the parser itself does not have.

    Attributes:
        since: of the monotonic clock: since when no request is being answered.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.since = time.monotonic()
        self._beside = self._body = 0
        self._begun = False

    @property
    def idle(self) -> bool:
        """Whether no whole request is there that waits for an answer."""
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def data_received(self, data: bytes) -> None:
        """Part of a request, or of several."""
        self._body, self._begun = 0, False
        super().data_received(data)
        beside = len(data) - self._body  # headers, lengths of chunks, trailers
        before = 0 if self._begun else self._beside
        self._beside = max(0, before + beside - MOST_BESIDE * self._body)
        if self._beside > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_message_begin(self) -> None:
        """Of the parser."""
        self._begun = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Of the parser."""
        self._body += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Of the cycle."""
        self.since = time.monotonic()
        super().on_response_complete()


class Server(uvicorn.Server):
    """Serves on a socket that other processes may share.

    Args:
        gate: the application.
        service: that it is of.
        started: called when requests are taken.
        parent: number of the process without which it stops; None: of none.
    """

    def __init__(
        self, gate: Gate, service: Service, started: Callable[[], None], parent: int | None = None
    ) -> None:
        settings = service.settings
        super().__init__(uvicorn.Config(
            gate, http=Protocol, ws="none", lifespan="on", log_config=None, access_log=False,
            server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=settings.max_connections, reset_contextvars=True,
            timeout_graceful_shutdown=round(settings.deadline_s + settings.body_s),
        ))  # fmt: skip
        self._gate, self._service, self._started = gate, service, started
        self._parent = parent
        self._opening: set[asyncio.Task[Any]] = set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """SIGTERM lets the server stop; Ctrl+C, which all processes get, is the supervisor's."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, and say so.

        Connections are accepted one at a time, so that processes which share a socket share them
        too: the usual server takes all that wait at once, and leaves other processes idle.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(1)
        loop = asyncio.get_running_loop()
        self.servers = []
        for each in sockets or []:
            loop.add_reader(each, self._accept, each)
        self.started = True
        self._started()

    def _accept(self, listening: socket.socket) -> bool:
        """Take one connection that waits; whether there was one."""
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):  # another process has it
            return False
        except OSError as error:  # too many open files: it would be asked again at once
            say(f"no connection can be accepted: {error.strerror}")
            loop.remove_reader(listening)
            if not self._service.stopping:
                loop.call_later(REST_S, loop.add_reader, listening, self._accept, listening)
            return False
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _protocol(self) -> Protocol:
        loop = asyncio.get_running_loop()
        return Protocol(config=self.config, server_state=self.server_state,
                        app_state=self.lifespan.state, _loop=loop)  # fmt: skip

    async def on_tick(self, counter: int) -> bool:
        """Close connections on which no request comes, or none comes to its end."""
        if self._parent is not None and os.getppid() != self._parent:
            self.should_exit = True  # nobody would replace it, or end it
        if counter % LOOK_EVERY == 0:
            longest = max(self._service.settings.body_s, KEEP_ALIVE_S)
            before = time.monotonic() - longest
            for each in list(self.server_state.connections):
                if isinstance(each, Protocol) and each.idle and each.since < before:
                    each.transport.close()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: take what has connected, answer what comes on it for a while, then close.

        A client that sends on an open connection just when it is closed would lose its request; so
        each connection is told with its next answer to close, and only those that stay silent for
        the whole of `grace_s` are closed without.
        """
        self._service.stopping, self._gate.draining = True, True
        loop = asyncio.get_running_loop()
        for each in sockets or []:
            loop.remove_reader(each)
            while self._accept(each):  # closing the socket would reset those that have connected
                pass
            each.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        end = time.monotonic() + self._service.settings.grace_s
        while self.server_state.connections and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown()
