"""Translated pictures for requests, for runs of a `Translator`."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starlette.requests import Request
from starlette.responses import Response

from anogen.data.picture_files import Picture
from anogen.serving.answers import HTTPError
from anogen.serving.reading import NPY, array_of, parts_of
from anogen.serving.restoring import MEDIA
from anogen.serving.service import Service, refuse_unknown
from anogen.translation.folder import form_of, tensor_of, to_pixels
from anogen.translation.translate import Domains, translate

QUERY = ("model", "to", "deadline_s")
MOST_VALUES = 1 << 22
"""Of the pictures of one request, in the size of the model: some seconds' work."""


async def translate_request(service: Service, request: Request) -> Response:
    """The answer to `POST /v1/translate`: a picture of the same format, or an array.

    Raises:
        HTTPError, UsageError, DataError: what cannot be read or translated.
    """
    refuse_unknown(request, QUERY)
    patience = service.patience(request)
    served = service.find(request.query_params.get("model"))
    if not served.translates:
        raise HTTPError(400, f"{served.name} does not translate: it is no Translator")
    if "to" not in request.query_params:
        raise HTTPError(400, f"say to which domain: to={' or to='.join(served.translates)}")
    domains = served.domains
    to = domains.number(request.query_params["to"])
    (part,) = await parts_of(request, 1)
    until = time.monotonic() + patience
    request.scope["state"]["shape"] = {"model": served.name, "items": 1}
    if part.content.startswith(NPY):
        array = await service.read(array_of, part.content)
        items = len(array) if array.ndim == 4 or (array.ndim == 3 and array.shape[2] > 3) else 1
        values = max(array.size, items * int(np.prod(domains.model.shape)))
        found = await _computed(
            service, lambda: translate(domains.model, array, to).images, values, items, until
        )
        content = io.BytesIO()
        np.save(content, found)
        return Response(content.getvalue(), media_type="application/x-npy")

    def read(content: bytes) -> tuple[Picture, torch.Tensor]:
        path = Path(part.name or "picture")
        form = form_of(Picture.of(content, path))
        return form, domains.brought(tensor_of(served.trained.run.pictures.read(path, content)))

    form, x = await service.read(read, part.content)
    y = await _computed(service, lambda: _one(domains, x, to), x.numel(), 1, until)
    return Response(await service.read(form.content, to_pixels(y)), media_type=MEDIA[form.form])


@torch.no_grad()
def _one(domains: Domains, x: torch.Tensor, to: int) -> torch.Tensor:
    return domains.translated(x, to)[0][0]


async def _computed(service: Service, work: Any, values: int, items: int, until: float) -> Any:
    held = 64 * values  # with the maps of the net
    if values > MOST_VALUES or held > service.settings.max_held_bytes:
        raise HTTPError(413, f"{values:,} values are too many; send fewer pictures at a time")
    return await service.compute(object(), lambda _: [work()], None, items, until, held)
