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
from anogen.serving.service import Service, flag_of, new_names, number_of, refuse_unknown
from anogen.serving.tables import Scored

MOST_EXPLAINED = 64
"""Items of one request that are explained."""
MOST_NEAREST = 10
QUERY = ("model", "fpr", "explain", "nearest", "stream", "keep", "deadline_s")
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
    scores: Scores = await service.compute(
        key, served.scores, pixels, len(pixels), until, pixels.nbytes
    )
    known = np.where(np.isnan(scores.values), np.inf, scores.values)
    return scores, served.calibration.p_value(known)


async def score_request(service: Service, request: Request) -> dict[str, Any]:
    """The answer to `POST /v1/score`."""
    refuse_unknown(request, QUERY)
    patience = service.patience(request)
    served = service.find(request.query_params.get("model"))
    detector = served.needed
    asked = number_of(request, "fpr", 0.0, 1e-9, 1 - 1e-9)
    rate = served.rate_of(asked or None)
    nearest = int(number_of(request, "nearest", 0, 0, MOST_NEAREST))
    explains = flag_of(request, "explain") or nearest > 0
    stream = stream_of(request)
    most = service.settings.most_items(int(np.prod(served.shape)))
    parts = await parts_of(request, most)
    until = time.monotonic() + patience
    if len(parts) == 1 and parts[0].content.startswith(NPY) and len(parts[0].content) <= SMALL:
        read = read_parts(parts, served, most)  # quicker than a thread would begin with it
    else:
        read = await service.read(read_parts, parts, served, most)
    if explains and len(read.pixels) > MOST_EXPLAINED:
        raise HTTPError(413, f"at most {MOST_EXPLAINED} items are explained at once")
    request.scope["state"]["shape"] = {"model": served.name, "items": len(read.items)}
    found, p_values = await computed(service, served, read.pixels, until)
    flagged = detector.calibration.flags(found.values, rate)
    told: list[dict[str, Any]] = [{} for _ in flagged]
    if explains and len(flagged):
        if nearest:
            await service.read(lambda: served.training)  # read once, beside what is computed
        told = await service.compute(
            object(), lambda _: [_told(served, read, nearest, flagged)], None, len(flagged), until
        )
    keeps = flag_of(request, "keep", usual="1")
    names = record(service, served, stream, found, p_values, flagged) if keeps else None
    results = _results(read, names, found.values, p_values, flagged, told)
    failed = sum("error" in result for result in results)
    service.metrics.items(
        served.name, int(flagged.sum()), len(results) - failed - int(flagged.sum()), failed
    )
    return {
        "model": served.name, "version": served.version, "score": detector.name,
        "false_positive_rate": rate, "threshold": detector.calibration.threshold(rate),
        "results": results,
    }  # fmt: skip


def record(
    service: Service, served: Served, stream: str, found: Scores, p_values: Values,
    flagged: NDArray[np.bool_],
) -> list[str] | None:  # fmt: skip
    """Keep scores where the service keeps any; their names there, by which they can be judged."""
    if service.store is None:
        return None
    names = new_names(len(p_values))
    now = time.time()
    service.store.keep([
        Scored(
            names[place], now, served.name, served.version, stream, float(score),
            float(p_values[place]), int(flagged[place]),
            {name: float(values[place]) for name, values in found.statistics.items()},
        )
        for place, score in enumerate(found.values) if np.isfinite(score)
    ])  # fmt: skip
    service.metrics.lost(service.store.lost)
    return names


def stream_of(request: Request) -> str:
    """Where the items of a request come from, as it says.

    Raises:
        HTTPError: 400, too long, or not printable.
    """
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
    flagged: NDArray[np.bool_], told: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    results: list[dict[str, Any]] = []
    good = 0
    for item in read.items:
        result: dict[str, Any] = {"name": item.name, "file": item.part, "index": item.index}
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
            "label": int(flagged[place]), **told[place],
        })  # fmt: skip
    return results
