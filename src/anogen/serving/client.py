"""A client of the service that needs nothing beside this package."""

import http.client
import io
import json
import mimetypes
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from anogen.errors import AnogenError, DataError, MachineError, UsageError, first_line

KINDS: dict[int, type[AnogenError]] = {
    400: UsageError, 401: UsageError, 404: UsageError, 413: UsageError, 415: UsageError,
    422: DataError,
}  # fmt: skip
"""What a status is in Python; others are a `MachineError`."""
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a connection raises that was closed while it was not in use."""
Given = Any
"""An array of images, paths of pictures, or rows: mappings, or a frame."""


OF_A_MODEL = ("/v1/score", "/v1/sample", "/v1/restore", "/v1/translate")
"""What is asked of one run."""


class Client:
    """Scores and pictures from a service; may be used by several threads.

    Args:
        url: of the service.
        key: that opens it, where it needs one.
        model: name of the run; needed where there are several.
        timeout: seconds for one answer.

    Examples:
        >>> client = Client("http://127.0.0.1:9")
        >>> client.ready
        False
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", key: str | None = None,
        model: str | None = None, timeout: float = 60.0,
    ) -> None:  # fmt: skip
        self._idle: list[http.client.HTTPConnection] = []
        address = urlsplit(url)
        try:
            port = address.port
        except ValueError:
            port = -1
        if address.scheme not in ("http", "https") or not address.hostname or port == -1:
            raise UsageError(f"a service's address is like http://127.0.0.1:8000, found {url!r}")
        self._secure, self._host, self._port = (
            address.scheme == "https",
            address.hostname,
            port,
        )
        self._path, self._timeout = address.path.rstrip("/"), timeout
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._model = model

    @property
    def ready(self) -> bool:
        """Whether the service takes requests."""
        try:
            return bool(self._ask("GET", "/v2/health/ready")["ready"])
        except AnogenError:
            return False

    @property
    def models(self) -> list[dict[str, Any]]:
        """What is served: names, shapes, what is promised."""
        return self._ask("GET", "/v1/models")["models"]

    def score(self, given: Given) -> NDArray[np.float64]:
        """As `Detector.score` of the served run, bit for bit: float64 `[n]`.

        Raises:
            DataError: one of the items cannot be read.
        """
        results = self.results(given)
        bad = next((each for each in results if "error" in each), None)
        if bad is not None:
            raise DataError(f"{bad['name'] or 'item'} {bad['index']}: {bad['error']}")
        return np.array([each["score"] for each in results])

    def results(self, given: Given, **query: Any) -> list[dict[str, Any]]:
        """Name, score, p-value and label of each item, or its error.

        Args:
            given: an array `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]`; paths of pictures; rows
                of a table as mappings, or a frame of pandas or polars.
            query: what the service takes: `fpr`, `explain`, `nearest`, `stream`, `keep`,
                `deadline_s`, `model`.
        """
        content, kind = _body(given)
        return self._ask("POST", "/v1/score", query, content, kind)["results"]

    def sample(self, count: int = 16, seed: int = 0, **more: Any) -> NDArray[np.uint8]:
        """New pictures, uint8 `[count, c, h, w]`; `more` is label, text, guidance, latents."""
        asked = {"count": count, "seed": seed, **more}
        if "latents" in asked:
            asked["latents"] = np.asarray(asked["latents"]).tolist()
            del asked["count"]
        content = self._raw("POST", "/v1/sample", {}, json.dumps(asked).encode(),
                            "application/json", "application/x-npy")  # fmt: skip
        return np.load(io.BytesIO(content), allow_pickle=False)

    def restore(self, given: NDArray[Any], **query: Any) -> NDArray[Any]:
        """As `anogen.restore` of the served run: an array like the one that is given.

        Args:
            given: an array as `anogen.restore` takes it.
            query: what the service takes: `method`, `level`, `deadline_s`, `model`.
        """
        content = self._raw("POST", "/v1/restore", query, *_body(given))
        return np.load(io.BytesIO(content), allow_pickle=False)

    def translate(self, given: NDArray[Any], to: str, **query: Any) -> NDArray[Any]:
        """As `anogen.translate` of the served run: the images in another domain.

        Args:
            given: an array as `anogen.translate` takes it.
            to: the name of the domain.
            query: what the service takes: `deadline_s`, `model`.
        """
        query = {"to": to, **query}
        content = self._raw("POST", "/v1/translate", query, *_body(given))
        return np.load(io.BytesIO(content), allow_pickle=False)

    def judge(
        self, item: str, verdict: str, note: str = "", picture: str | Path | None = None
    ) -> dict[str, Any]:
        """Keep an operator's verdict, `good` or `bad`, on an item by its id.

        With its picture, a file, `anogen refresh` can learn from it.
        """
        given = {"id": item, "verdict": verdict, "note": note}
        if picture is not None:
            return self._ask("POST", "/v1/feedback", given, *_form([Path(picture)]))
        content = json.dumps(given).encode()
        return self._ask("POST", "/v1/feedback", {}, content, "application/json")

    @property
    def watches(self) -> list[dict[str, Any]]:
        """Whether the stream is still what it was; see `anogen.detection.watch`."""
        return self._ask("GET", "/v1/watch")["watches"]

    def _ask(
        self, method: str, path: str, query: Mapping[str, Any] | None = None,
        content: bytes | None = None, kind: str = "",
    ) -> Any:  # fmt: skip
        return json.loads(self._raw(method, path, query or {}, content, kind))

    def _raw(
        self, method: str, path: str, query: Mapping[str, Any], content: bytes | None, kind: str,
        accept: str = "application/json",
    ) -> bytes:  # fmt: skip
        if path in OF_A_MODEL and self._model is not None:
            query = {"model": self._model, **query}
        told = {name: int(value) if isinstance(value, bool) else value
                for name, value in query.items()}  # fmt: skip
        where = self._path + path + (f"?{urlencode(told)}" if told else "")
        headers = {**self._headers, "Accept": accept, **({"Content-Type": kind} if kind else {})}
        status, answer = self._answer(method, where, content, headers)
        if status < 300:
            return answer
        try:
            message = json.loads(answer)["error"]
        except (ValueError, KeyError, TypeError):
            message = f"the service answers with status {status}"
        raise KINDS.get(status, MachineError)(message)

    def _answer(
        self, method: str, where: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body.

        Asked once more where an old connection turns out to be closed: then the service has not
        seen the request.
        """
        while True:
            connection, fresh = self._connection()
            try:
                connection.request(method, where, content, dict(headers))
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not fresh and isinstance(error, CLOSED):
                    self.close()  # the others are as old
                    continue
                raise MachineError(
                    f"{self._host}: the service does not answer ({first_line(error)})"
                ) from error
            self._idle.append(connection)
            return status, body

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """One that is not in use, and whether it is new."""
        try:
            return self._idle.pop(), False
        except IndexError:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            return kind(self._host, self._port, timeout=self._timeout), True

    def close(self) -> None:
        """Close all connections; a later call opens others."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _body(given: Given) -> tuple[bytes, str]:
    """What is sent, and its content type."""
    if hasattr(given, "to_dicts"):  # polars
        given = given.to_dicts()
    elif hasattr(given, "to_dict") and hasattr(given, "columns"):  # pandas
        return given.to_csv(index=False).encode(), "text/csv"
    if isinstance(given, str | Path):
        given = [given]
    if isinstance(given, Sequence) and given and all(isinstance(g, str | Path) for g in given):
        return _form([Path(each) for each in given])
    if isinstance(given, Sequence) and given and all(isinstance(g, Mapping) for g in given):
        return json.dumps({"rows": [dict(row) for row in given]}, default=str).encode(), (
            "application/json"
        )
    array = np.asarray(given)
    if array.dtype.hasobject or not array.size:
        raise UsageError("give an array of images, paths of pictures, or rows")
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue(), "application/x-npy"


def _form(paths: Sequence[Path]) -> tuple[bytes, str]:
    """Files as a form."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for path in paths:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = path.name.replace("\\", "\\\\").replace('"', '\\"')
        head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
                f"\r\nContent-Type: {kind}\r\n\r\n")  # fmt: skip
        try:
            parts += [head.encode("utf-8", "replace"), path.read_bytes(), b"\r\n"]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
