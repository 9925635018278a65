"""Restored pictures for requests, for runs that have learnt to restore."""

import io
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from anogen.data.picture_files import Picture
from anogen.restoration.restore import Method, Restored, Restoring, restore
from anogen.serving.answers import HTTPError
from anogen.serving.reading import NPY, Part, array_of, parts_of
from anogen.serving.service import Service, number_of, refuse_unknown

QUERY = ("model", "method", "level", "deadline_s")
MOST_VALUES, SLOW = 1 << 23, 16
"""Of one request, for other requests wait: some seconds' work; and how many times as much work the
slow kind of net has."""
WAYS = ("auto", "net", "posterior")
MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "BMP": "image/bmp",
         "TIFF": "image/tiff", "WEBP": "image/webp"}  # fmt: skip


async def restore_request(service: Service, request: Request) -> Response:
    """The answer to `POST /v1/restore`: a picture like the one that was sent, or an array.

    Raises:
        HTTPError, UsageError, DataError: what cannot be read or restored.
    """
    refuse_unknown(request, QUERY)
    patience = service.patience(request)
    served = service.find(request.query_params.get("model"))
    method = request.query_params.get("method", "auto")
    if method not in WAYS or not served.restores:
        raise HTTPError(400, f"{served.name} does not restore: train it with a corruption"
                        if method in WAYS else f"method must be one of {', '.join(WAYS)}; the "
                        "others take too long for a service")  # fmt: skip
    level = number_of(request, "level", -1.0, 0.0, 10.0)
    how = Restoring(method=cast(Method, method), level=None if level < 0 else level)
    parts = await parts_of(request, 2)
    until = time.monotonic() + patience
    model: Any = served.trained.model
    if how.way(model, len(parts) > 1) == "prior":
        raise HTTPError(400, f"{served.name} has not learnt to fill holes, and to find latents "
                        "that fit takes too long for a service")  # fmt: skip
    request.scope["state"]["shape"] = {"model": served.name, "items": 1}
    if len(parts) == 1 and parts[0].content.startswith(NPY):
        array = await service.read(array_of, parts[0].content)
        found = await _restored(service, model, array, None, how, until)
        content = io.BytesIO()
        np.save(content, found.images)
        return Response(content.getvalue(), media_type="application/x-npy")
    read = [await service.read(_picture, part) for part in parts]
    mask = read[1].as_mask() if len(read) > 1 else None
    found = await _restored(service, model, read[0].pixels, mask, how, until)
    content = await service.read(read[0].content, found.images)
    return Response(content, media_type=MEDIA[read[0].form])


def _picture(part: Part) -> Picture:
    return Picture.of(part.content, Path(part.name or "picture"))


async def _restored(
    service: Service, model: Any, pixels: NDArray[Any], mask: NDArray[Any] | None, how: Restoring,
    until: float,
) -> Restored:  # fmt: skip
    def work(_: Any) -> list[Restored]:
        return [restore(model, pixels, mask=mask, settings=how)]

    most = MOST_VALUES // (SLOW if getattr(model, "learning", "") == "noise_to_self" else 1)
    held = 16 * pixels.size  # with the maps of the net, which tiles bound
    if pixels.size > most or held > service.settings.max_held_bytes:
        raise HTTPError(413, f"{pixels.size:,} values are too many; make the picture smaller")
    items = len(pixels) if pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[2] != 3) else 1
    return await service.compute(object(), work, None, items, until, held)
