"""New pictures for requests: drawn from the model, or decoded from latents that a client chose."""

import base64
import io
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from anogen.errors import UsageError, checked_seed, finite_number, whole_number
from anogen.serving.answers import HTTPError, json_answer
from anogen.serving.png import png, sheet
from anogen.serving.reading import json_of
from anogen.serving.served import Served
from anogen.serving.service import Service

MOST = 256
"""Pictures of one request."""


async def sample_request(service: Service, request: Request) -> Response:
    """The answer to `POST /v1/sample`, as JSON, as one PNG or as a `.npy` file.

    Raises:
        HTTPError, UsageError: what the model cannot draw.
    """
    patience = service.patience(request)
    content = await request.body()
    until = time.monotonic() + patience
    asked = await service.read(json_of, content) if content.strip() else {}
    if not isinstance(asked, dict):
        raise HTTPError(400, "expected an object, such as {'count': 16, 'seed': 0}")
    name = request.query_params.get("model", asked.get("model"))
    served = service.find(None if name is None else str(name))
    if not served.samples:
        raise UsageError(f"{served.name} makes no new pictures")
    unknown = set(asked) - {"model", "count", "seed", "label", "latents", "text", "guidance"}
    if unknown:
        raise HTTPError(400, f"unknown: {', '.join(sorted(map(str, unknown)))[:200]}")
    condition = await service.read(served.condition_of, asked.get("label"), asked.get("text"))
    guidance = finite_number("guidance", asked.get("guidance", 1.0))
    if guidance != 1 and asked.get("text") is None:
        raise HTTPError(400, "guidance needs a text")
    seed = checked_seed(asked.get("seed", 0))
    if "latents" in asked:
        latents = _latents(asked["latents"], served.latent)
    else:
        count = whole_number("count", asked.get("count", 16))
        if not 1 <= count <= MOST:
            raise HTTPError(400, f"count must lie between 1 and {MOST}")
        latents = await service.read(served.latents, count, seed, condition)
    count = len(latents)
    request.scope["state"]["shape"] = {"model": served.name, "items": count}
    size = count * int(np.prod(served.shape))

    def draw(_: Any) -> list[NDArray[np.uint8]]:
        return [served.decoded(latents, seed, condition, guidance)]

    pixels = await service.compute(object(), draw, None, count, until, size)
    return _answer(served, pixels, latents, request.headers.get("accept", ""))


def _latents(given: Any, length: int) -> NDArray[np.float32]:
    try:
        latents = np.asarray(given, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise HTTPError(400, "latents are lists of numbers") from error
    if latents.ndim == 1:
        latents = latents[None]
    if latents.ndim != 2 or latents.shape[1] != length or not 1 <= len(latents) <= MOST:
        raise HTTPError(400, f"latents are 1 to {MOST} lists of {length} numbers each")
    if not np.isfinite(latents).all() or np.abs(latents).max() > 1e6:
        raise HTTPError(400, "a latent is not finite, or larger than a million")
    return latents


def _answer(
    served: Served, pixels: NDArray[np.uint8], latents: NDArray[np.float32], accept: str
) -> Response:
    if accept.startswith("application/x-npy"):
        content = io.BytesIO()
        np.save(content, pixels)
        return Response(content.getvalue(), media_type="application/x-npy")
    if accept.startswith("image/png"):
        return Response(base64.b64decode(png(sheet(pixels))), media_type="image/png")
    return json_answer({"model": served.name, "version": served.version,
                        "images": [png(each) for each in pixels],
                        "latents": latents.tolist()})  # fmt: skip
