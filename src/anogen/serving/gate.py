"""What every request passes: its name, limits, the key, and one line in the log."""

import asyncio
import hmac
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anogen.durable import read_regular
from anogen.errors import UsageError
from anogen.printable import printable
from anogen.serving.answers import HTTPError, error_answer
from anogen.serving.metrics import Metrics
from anogen.serving.settings import Settings

OPEN = ("/v2/health/live", "/v2/health/ready", "/", "/page/", "/openapi.json")
"""Paths that need no key: probes, the page itself and the description."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAST_KEY = 16
"""Characters of a key."""
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a client may call its request."""
GONE = 499
"""What the log has of a client that did not wait."""
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """The keys that open the service, as hashes; none: it is open.

    Examples:
        >>> keys = Keys.of(["a key of some length"])
        >>> keys.allow("Bearer a key of some length"), keys.allow("Bearer other"), keys.allow("")
        (True, False, False)
    """

    hashes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Sequence[str]) -> "Keys":
        """From keys in plain text."""
        return cls(tuple(sha256(key.encode()).digest() for key in keys))

    @classmethod
    def read(cls, path: str | Path) -> "Keys":
        """From a file with a key in each line; empty lines and those after `#` are passed over.

        Raises:
            UsageError: there is no key in it, or one that is too short.
            MachineError: it cannot be read.
        """
        lines = read_regular(Path(path), 1 << 20).decode("utf-8", "replace").splitlines()
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise UsageError(f"{path}: there is no key in it; write one in a line")
        if min(map(len, keys)) < LEAST_KEY:
            raise UsageError(
                f"{path}: a key has at least {LEAST_KEY} characters; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        return cls.of(keys)

    def allow(self, header: str) -> bool:
        """Whether an Authorization header has one of the keys; all are compared, in equal time."""
        if not self.hashes:
            return True
        scheme, _, given = header.partition(" ")
        digest = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        fits = [hmac.compare_digest(digest, each) for each in self.hashes]
        return any(fits) and scheme.lower() == "bearer"


@dataclass
class Gate:
    """Middleware around the application.

    Attributes:
        app: inside.
        settings: of the service.
        keys: that open it.
        metrics: told of every request.
        local: whether only names of this machine may stand in the Host header: a page of another
            site must not reach a service without keys by a name that it lets point here.
        draining: whether the service is about to stop; then connections are closed after an answer.
        log: where lines go; standard error.
        held: bytes of the requests that are not answered yet.
    """

    app: ASGIApp
    settings: Settings
    keys: Keys
    metrics: Metrics
    local: bool = False
    draining: bool = False
    log: Any = None
    held: int = 0
    _count: int = field(default=0, repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(self, scope, receive, send)
        await request.run()

    def name_of(self, given: str) -> str:
        """The request's name: the client's own where it is plain, else one of ours."""
        if NAME.fullmatch(given):
            return given
        self._count += 1
        return f"{time.time_ns():x}-{self._count:x}"

    def refuse(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise an `HTTPError` for a request that must not pass."""
        path: str = scope["path"]
        if sum(key.lower() == b"host" for key, _ in scope["headers"]) > 1:
            raise HTTPError(400, "more than one Host")
        if self.local:
            host = headers.get("host", "").lower()
            bare = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
            if bare.strip("[]") not in LOOPBACK:
                raise HTTPError(421, "this service answers to the names of its own machine only")
        free = path in OPEN or path.startswith("/page/")
        if not free and not self.keys.allow(headers.get("authorization", "")):
            raise HTTPError(401, "a key is needed, as in 'Authorization: Bearer KEY'",
                            {"WWW-Authenticate": "Bearer"})  # fmt: skip
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise HTTPError(400, "Content-Length is no number")
        if len(length) > 15 or int(length) > self.settings.max_bytes:
            raise self.too_large()

    def too_large(self) -> HTTPError:
        """The error for a body over the limit."""
        return HTTPError(413, f"a request has at most {self.settings.max_megabytes:g} MiB; send "
                         "less at a time")  # fmt: skip

    def write(self, line: dict[str, Any]) -> None:
        """One JSON object in a line."""
        stream = self.log or sys.stderr
        if stream is not None:
            with suppress(OSError, ValueError):
                print(json.dumps(line), file=stream, flush=True)


class _Request:
    """One request on its way through the gate."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self._receive, self._send = gate, scope, receive, send
        self.headers = {
            key.decode("latin-1").lower(): value.decode("latin-1")
            for key, value in scope["headers"]
        }
        self.name = gate.name_of(self.headers.get("x-request-id", ""))
        self.taken, self.status = 0, 0
        self.start = time.monotonic()
        self.until = self.start + gate.settings.body_s

    async def run(self) -> None:
        scope = self.scope
        scope.setdefault("state", {})["request"] = self
        self.gate.metrics.running(1)
        try:
            self.gate.refuse(scope, self.headers)
            await self.gate.app(scope, self.receive, self.send)
        except HTTPError as error:
            await self._fail(error)
        except ClientDisconnect:
            self.status = GONE
        except Exception as error:  # a fault of ours: the client gets one line, the log the kind
            self.gate.write({"level": "error", "request": self.name, "error": type(error).__name__,
                             "where": _where(error)})  # fmt: skip
            await self._fail(error)
        finally:
            self.gate.held -= self.taken
            self.gate.metrics.running(-1)
            self._note()

    async def _fail(self, error: Exception) -> None:
        if self.status:  # an answer has begun, it can only be cut off
            return
        await error_answer(error)(self.scope, self._receive, self.send)

    async def receive(self) -> Message:
        """The next part of the body, within the limits of time and length."""
        if self.scope["method"] in ("GET", "HEAD") or self.status:
            return await self._receive()
        left = self.until - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError as error:
            raise HTTPError(
                408, "the request did not come in time", {"Connection": "close"}
            ) from error
        length = len(message.get("body", b""))
        self.taken += length
        self.gate.held += length
        if self.gate.held > self.gate.settings.max_held_bytes:
            raise HTTPError(429, "too much is being sent at once; try again",
                            {"Retry-After": "1", "Connection": "close"})  # fmt: skip
        if self.taken > self.gate.settings.max_bytes:
            raise self.gate.too_large()
        if message["type"] == "http.request" and not message.get("more_body"):
            self.until = float("inf")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            given = {key.lower() for key, _ in headers}
            extra = HEADERS | {"x-request-id": self.name}
            if self.gate.draining or self.status in (408, 413):
                extra["connection"] = "close"
            headers += [(key.encode(), value.encode()) for key, value in extra.items()
                        if key.encode() not in given]  # fmt: skip
            message = {**message, "headers": headers}
        await self._send(message)

    def _note(self) -> None:
        seconds = time.monotonic() - self.start
        route = getattr(self.scope.get("route"), "path", "") or "other"
        self.gate.metrics.request(self.scope["method"], route, self.status, seconds, self.taken)
        self.gate.write({
            "level": "info", "request": self.name, "method": printable(self.scope["method"]),
            "route": route, "status": self.status, "bytes": self.taken,
            "ms": round(1000 * seconds, 2), **self.scope["state"].get("shape", {}),
        })  # fmt: skip


def _where(error: BaseException) -> str:
    """The file and line in which an error arose; not its message, which may quote the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
