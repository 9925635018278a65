"""Errors of the service: a status, one line, and never a word of what was sent."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from anogen.errors import AnogenError, DataError, UsageError
from anogen.printable import printable


class HTTPError(Exception):
    """What a client did wrong, or what keeps the service from answering.

    Args:
        status: of HTTP.
        message: one line for people.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON; floats are written so that they are read again as the same ones."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))  # in ASCII
    return Response(text, status, dict(headers or {}), media_type="application/json")


def error_answer(error: Exception) -> Response:
    """The answer to a request that failed, as `{"error": …}`.

    What anogen says of bad input is the client's fault (400, data 422); all else is the service's.
    """
    if isinstance(error, HTTPError):
        return json_answer({"error": printable(error.message)}, error.status, error.headers)
    if isinstance(error, DataError):
        return json_answer({"error": printable(str(error))}, 422)
    if isinstance(error, UsageError):
        return json_answer({"error": printable(str(error))}, 400)
    if type(error).__module__.startswith("sqlalchemy"):
        return json_answer({"error": "the store cannot be used just now"}, 503)
    if isinstance(error, AnogenError | MemoryError):
        return json_answer({"error": "the service is short of memory or of disk"}, 503)
    return json_answer({"error": "a fault of the service; its log has more"}, 500)
