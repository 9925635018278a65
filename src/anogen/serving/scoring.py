"""Scores for requests: read, computed with whatever else waits, told, and kept."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from anogen.serving.answers import HTTPError
from anogen.serving.reading import NPY, Read, parts_of, read_parts
from anogen.serving.served import Scores, Served
from anogen.serving.service import Service, flag_of, new_names, number_of
from anogen.serving.store import Scored

MOST_EXPLAINED = 64
"""Items of one request that are explained."""
MOST_NEAREST = 10
SMALL = 1 << 17
"""Bytes of an array that is read at once."""
MOST_STREAM = 64
"""Characters of a stream's name."""

Values = NDArray[np.float64]


async def computed(
    service: Service, served: Served, pixels: NDArray[Any], until: float
) -> tuple[Scores, Values]:
    """Scores and p-values of what was read, float64 `[n]` each; a score may be no number."""
    if not len(pixels):
        return Scores(np.zeros(0), {}), np.zeros(0)
    key = ("score", served.name, served.version)
    scores: Scores = await service.batcher.do(
        key, served.scores, pixels, len(pixels), until, pixels.nbytes
    )
    known = np.where(np.isnan(scores.values), np.inf, scores.values)
    return scores, served.calibration.p_value(known)


async def score_request(service: Service, request: Request) -> dict[str, Any]:
    """The answer to `POST /v1/score`."""
    until = service.deadline(request)
    served = service.find(request.query_params.get("model"))
    detector = served.needed
    asked = number_of(request, "fpr", 0.0, 1e-9, 1 - 1e-9)
    rate = served.rate_of(asked or None)
    explains = flag_of(request, "explain")
    nearest = int(number_of(request, "nearest", 0, 0, MOST_NEAREST))
    stream = _stream_of(request)
    most = service.settings.most_items(int(np.prod(served.shape)))
    parts = await parts_of(request, most)
    if all(part.content.startswith(NPY) and len(part.content) <= SMALL for part in parts):
        read = read_parts(parts, served, most)  # quicker than a thread would begin with it
    else:
        read = await service.read(read_parts, parts, served, most)
    if explains and len(read.pixels) > MOST_EXPLAINED:
        raise HTTPError(413, f"at most {MOST_EXPLAINED} items are explained at once")
    request.scope["state"]["shape"] = {"model": served.name, "items": len(read.items)}
    found, p_values = await computed(service, served, read.pixels, until)
    scores = found.values
    threshold = detector.calibration.threshold(rate)
    labels = (scores > threshold).astype(int)
    told: list[dict[str, Any]] = [{} for _ in scores]
    if explains and len(scores):
        told = await service.batcher.do(
            object(), lambda _: [_told(served, read, nearest, scores > threshold)], None,
            len(scores), until,
        )  # fmt: skip
    names = new_names(len(scores)) if service.store is not None else None
    if service.store is not None and names is not None:
        service.store.keep(_kept(names, served, stream, found, p_values))
    results = _results(read, names, scores, p_values, labels, told)
    failed = sum("error" in result for result in results)
    flagged = int(labels[np.isfinite(scores)].sum())
    service.metrics.items(served.name, flagged, len(results) - failed - flagged, failed)
    return {
        "model": served.name, "version": served.version, "score": detector.name,
        "false_positive_rate": rate, "threshold": threshold, "results": results,
    }  # fmt: skip


def _stream_of(request: Request) -> str:
    stream = request.query_params.get("stream", "")
    if len(stream) > MOST_STREAM or not stream.isprintable():
        raise HTTPError(400, f"stream: at most {MOST_STREAM} printable characters")
    return stream


def _told(
    served: Served, read: Read, nearest: int, flagged: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Explanations of all items: of pictures a map, of rows that are called out the reasons."""
    if read.encoded is None:
        return served.explained(read.pixels, nearest)
    told: list[dict[str, Any]] = [{"reasons": []} for _ in flagged]
    out = np.flatnonzero(flagged).tolist()
    reasons = served.reasons(read.encoded, [read.places[place] for place in out]) if out else []
    for place, texts in zip(out, reasons, strict=True):
        told[place] = {"reasons": texts}
    return told


def _results(
    read: Read, names: Sequence[str] | None, scores: Values, p_values: Values,
    labels: NDArray[np.int64], told: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    results: list[dict[str, Any]] = []
    good = 0
    for item in read.items:
        result: dict[str, Any] = {"name": item.name, "index": item.index}
        if item.error:
            results.append(result | {"error": item.error})
            continue
        place, good = good, good + 1
        if not np.isfinite(scores[place]):
            results.append(result | {"error": f"the score is {scores[place]}; choose another one"})
            continue
        if names is not None:
            result["id"] = names[place]
        results.append(result | {
            "score": float(scores[place]), "p_value": float(p_values[place]),
            "label": int(labels[place]), **told[place],
        })  # fmt: skip
    return results


def _kept(
    names: Sequence[str], served: Served, stream: str, found: Scores, p_values: Values
) -> list[Scored]:
    scores, statistics = found
    now = time.time()
    labels = p_values <= served.rate + 1e-12
    return [
        Scored(
            names[place], now, served.name, served.version, stream, float(scores[place]),
            float(p_values[place]), int(labels[place]),
            {name: float(values[place]) for name, values in statistics.items()},
        )
        for place in range(len(scores)) if np.isfinite(scores[place])
    ]  # fmt: skip
