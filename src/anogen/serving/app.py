"""The service as an ASGI application: which path is answered by what."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from anogen import __version__
from anogen.data.pictures import Pictures
from anogen.errors import AnogenError
from anogen.serving.answers import HTTPError, error_answer, json_answer
from anogen.serving.drawing import sample_request
from anogen.serving.gate import Gate, Keys
from anogen.serving.inference import infer, metadata_of
from anogen.serving.openapi import description
from anogen.serving.reading import json_of, parts_of
from anogen.serving.restoring import restore_request
from anogen.serving.scoring import score_request
from anogen.serving.service import Service
from anogen.serving.store import Store
from anogen.serving.tables import VERDICTS
from anogen.serving.translating import translate_request
from anogen.serving.verdicts import ITEM, verdicts_csv

PAGE = {
    "index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css",
}  # fmt: skip
MOST_NOTE = 2000
"""Characters of an operator's note."""
WAIT_S = 2.0
"""For an item to be written on which there is a verdict already."""
MOST_SHOWN = 200
"""Verdicts that are listed."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(service: Service, keys: Keys | None = None, local: bool = False) -> Gate:
    """The application of a service.

    Args:
        service: that has not started; it starts and stops with the application.
        keys: that open it; None: it needs none.
        local: whether only names of this machine may stand in the Host header.
    """

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncGenerator[None]:
        service.start()
        yield
        service.stop()

    handlers: Mapping[Any, Any] = {
        HTTPException: _plain, HTTPError: _failed, AnogenError: _failed, Exception: _failed,
    }  # fmt: skip
    app = Starlette(routes=_routes(service), lifespan=running, exception_handlers=handlers)
    app.router.redirect_slashes = False  # it would redirect to whatever host a request names
    return Gate(app, service.settings, keys or Keys(), service.metrics, local)


def _routes(service: Service) -> list[Route]:
    def answering(function: Callable[[Request], Any]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return json_answer(function(request))

        return endpoint

    def from_store(function: Callable[[Request], Any]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return json_answer(await service.ask_store(function, request))

        return endpoint

    async def score(request: Request) -> Response:
        return json_answer(await score_request(service, request))

    async def sample(request: Request) -> Response:
        return await sample_request(service, request)

    async def restoring(request: Request) -> Response:
        return await restore_request(service, request)

    async def translating(request: Request) -> Response:
        return await translate_request(service, request)

    def named(request: Request) -> str:
        name = str(request.path_params["name"])
        served = service.find(name)
        version = request.path_params.get("version")
        if version not in (None, served.version):
            raise HTTPError(404, f"{name} has the version {served.version} only")
        return name

    async def inference(request: Request) -> Response:
        return await infer(service, service.find(named(request)), request)

    async def live(_: Request) -> Response:
        return json_answer({"live": True})

    async def ready(_: Request) -> Response:
        return json_answer({"ready": service.ready}, 200 if service.ready else 503)

    async def model_ready(request: Request) -> Response:
        return json_answer({"name": named(request), "ready": service.ready},
                           200 if service.ready else 503)  # fmt: skip

    async def metrics(_: Request) -> Response:
        def text() -> str:
            watches: list[dict[str, Any]] = []
            with suppress(SQLAlchemyError):  # the rest is wanted all the more
                watches = [] if service.store is None else service.store.summaries()
            return service.metrics.text(watches)

        return Response(await service.ask_store(text), media_type="text/plain; version=0.0.4")

    async def feedback(request: Request) -> Response:
        return await _feedback(service, request)

    async def feedback_csv(request: Request) -> Response:
        model = request.query_params.get("model")
        return Response(await service.ask_store(verdicts_csv, _store(service), model),
                        media_type="text/csv")  # fmt: skip

    def models(_: Request) -> Any:
        return {"models": [served.card for served in service.runs.values()]}

    def metadata(request: Request) -> Any:
        return metadata_of(service.find(named(request)))

    def about(_: Request) -> Any:
        return {"name": "anogen", "version": __version__, "extensions": ["binary_tensor_data"]}

    def watch(_: Request) -> Any:
        versions = {name: served.version for name, served in service.runs.items()}
        summaries = _store(service).summaries()
        return {"watches": [w for w in summaries if versions.get(w["model"]) == w["version"]]}

    def judged(request: Request) -> Any:
        store = _store(service)
        name = service.find(request.query_params.get("model")).name
        last = store.verdicts(name)[-MOST_SHOWN:]
        return {"model": name, "counts": store.agreement(name),
                "verdicts": [asdict(each) for each in reversed(last)]}  # fmt: skip

    post = ["POST"]
    v2 = "/v2/models/{name}"
    return [
        Route("/v1/score", score, methods=post),
        Route("/v1/sample", sample, methods=post),
        Route("/v1/restore", restoring, methods=post),
        Route("/v1/translate", translating, methods=post),
        Route("/v1/models", answering(models)),
        Route("/v1/models/{name}", answering(lambda r: service.find(named(r)).card)),
        Route("/v1/watch", from_store(watch)),
        Route("/v1/feedback", feedback, methods=post),
        Route("/v1/feedback", from_store(judged), methods=["GET"]),
        Route("/v1/feedback.csv", feedback_csv),
        Route("/v2", answering(about)),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route(v2, answering(metadata)),
        Route(v2 + "/ready", model_ready),
        Route(v2 + "/infer", inference, methods=post),
        Route(v2 + "/versions/{version}", answering(metadata)),
        Route(v2 + "/versions/{version}/ready", model_ready),
        Route(v2 + "/versions/{version}/infer", inference, methods=post),
        Route("/metrics", metrics),
        Route("/openapi.json", answering(lambda _: description())),
        Route("/", _file("index.html")),
        *(Route(f"/page/{name}", _file(name)) for name in PAGE if name != "index.html"),
    ]


def _file(name: str) -> Endpoint:
    content = files("anogen.serving").joinpath("page", name).read_bytes()

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=PAGE[name])

    return endpoint


def _store(service: Service) -> Store:
    if service.store is None:
        raise HTTPError(404, "nothing is kept by this service; start it with --store")
    return service.store


async def _feedback(service: Service, request: Request) -> Response:
    """An operator's verdict on an item: `id`, `verdict`, a `note`, in a form also the picture."""
    store = _store(service)
    picture = None
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/json"):
        given = await service.read(json_of, await request.body())
    elif kind.startswith("multipart/form-data"):
        given = dict(request.query_params)
        (part,) = await parts_of(request, 1)
        picture = part.content
        await service.read(Pictures().read, Path("picture"), picture)  # refused where it is none
    else:
        raise HTTPError(
            415, "a verdict is sent with Content-Type application/json, or as a form with a picture"
        )
    item, verdict, note = _verdict(given)
    kept = None
    for wait in (0.0, *[WAIT_S / 4] * 4):  # what was scored just now is written soon
        await asyncio.sleep(wait)
        kept = await service.ask_store(store.judge, item, verdict, note, picture)
        if kept is not None:
            counts = await service.ask_store(store.agreement, kept.model)
            return json_answer({"kept": asdict(kept), "counts": counts})
    raise HTTPError(404, "there is no item of that id; perhaps it was scored too long ago")


def _verdict(given: Any) -> tuple[str, str, str]:
    """The item, the verdict and the note of what was sent.

    Raises:
        HTTPError: something else was.
    """
    if not isinstance(given, dict) or not isinstance(given.get("id"), str):
        raise HTTPError(400, 'expected {"id": ..., "verdict": "good" or "bad"}')
    if given.get("verdict") not in VERDICTS:
        raise HTTPError(400, f"a verdict is one of {', '.join(VERDICTS)}")
    note = given.get("note", "")
    if not isinstance(note, str) or len(note) > MOST_NOTE:
        raise HTTPError(400, f"a note is text of at most {MOST_NOTE} characters")
    if not ITEM.fullmatch(given["id"]):
        raise HTTPError(404, "there is no item of that id")
    return given["id"], given["verdict"], note.encode("utf-8", "replace").decode()


async def _failed(_: Request, error: Exception) -> Response:
    return error_answer(error)


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: "there is nothing at this address; see /openapi.json",
            405: "this address takes another method; see /openapi.json"}  # fmt: skip
    message = told.get(error.status_code, str(error.detail))
    return json_answer({"error": message}, error.status_code, dict(error.headers or {}))
