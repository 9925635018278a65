"""The Open Inference Protocol, version 2, with its extension for binary tensors.

Existing clients speak it: https://github.com/kserve/open-inference-protocol
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from anogen.data.images import images_from_array, is_table
from anogen.data.sources import fitting
from anogen.errors import DataError
from anogen.serving.answers import HTTPError, json_answer
from anogen.serving.reading import json_of, rows_of
from anogen.serving.scoring import computed, record, stream_of
from anogen.serving.served import Served
from anogen.serving.service import Service

HEADER = "inference-header-content-length"
TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    "UINT64": np.uint64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
OUTPUTS = {"score": "FP64", "p_value": "FP64", "label": "INT64"}
MOST_DIMENSIONS = 8
INPUT = "input"
"""Name of the only input of a model of pictures."""


def metadata_of(served: Served) -> dict[str, Any]:
    """What a model takes and gives."""
    columns = served.columns
    if columns is None:
        inputs = [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *served.shape]}]
    else:
        inputs = [
            {"name": column.name, "datatype": "FP64" if column.kind == "number" else "BYTES",
             "shape": [-1, 1]}
            for column in columns.columns if column.kind != "ignored"
        ]  # fmt: skip
    return {
        "name": served.name, "versions": [served.version], "platform": "anogen", "inputs": inputs,
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]}
                    for name, kind in OUTPUTS.items()],
    }  # fmt: skip


async def infer(service: Service, served: Served, request: Request) -> Response:
    """The answer to `POST /v2/models/{name}/infer`; one bad item fails the request.

    Raises:
        HTTPError, DataError: the request is not what the protocol or the model takes.
    """
    patience, stream = service.patience(request), stream_of(request)
    content = await request.body()
    until = time.monotonic() + patience
    asked, tensors = await service.read(_tensors, content, request.headers.get(HEADER))
    most = service.settings.most_items(int(np.prod(served.shape)))
    pixels = await service.read(_pixels, served, tensors, most)
    request.scope["state"]["shape"] = {"model": served.name, "items": len(pixels)}
    found, p_values = await computed(service, served, pixels, until)
    scores = found.values
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError(f"the score of item {bad[0]} is {scores[bad[0]]}; choose another score")
    flagged = served.calibration.flags(scores, served.rate)
    record(service, served, stream, found, p_values, flagged)
    service.metrics.items(served.name, int(flagged.sum()), int((~flagged).sum()), 0)
    outputs = {"score": scores, "p_value": p_values, "label": flagged.astype(np.int64)}
    return _answer(served, asked, outputs)


def _tensors(content: bytes, header: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request's JSON and its inputs by name, arrays or lists of text."""
    if header is not None:
        if not header.isdecimal() or len(header) > 12 or int(header) > len(content):
            raise HTTPError(400, f"{HEADER} is no length of this request's JSON")
        length = int(header)
    else:
        length = len(content)
    asked = json_of(content[:length])
    inputs = asked.get("inputs") if isinstance(asked, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise HTTPError(400, "a request has inputs, a list")
    found: dict[str, Any] = {}
    rest = memoryview(content)[length:]
    for tensor in inputs:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise HTTPError(400, "each input is an object with a name")
        if tensor["name"] in found:
            raise HTTPError(400, f"two inputs are called {tensor['name'][:100]}")
        found[tensor["name"]], rest = _tensor(tensor, rest)
    if len(rest):
        raise HTTPError(400, f"{len(rest)} bytes belong to no input")
    return asked, found


def _tensor(tensor: Mapping[str, Any], rest: memoryview) -> tuple[Any, memoryview]:
    name, shape, kind = tensor["name"][:100], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise HTTPError(400, f"input {name}: a shape is a list of a few whole numbers")
    if not all(type(size) is int and 0 <= size < 1 << 31 for size in shape):
        raise HTTPError(400, f"input {name}: a shape is a list of whole numbers")
    if kind not in (*TYPES, "BYTES"):
        raise HTTPError(400, f"input {name}: unknown datatype; use one of {', '.join(TYPES)}")
    count = math.prod(shape)
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(rest):
            raise HTTPError(400, f"input {name}: binary_data_size is more than there is")
        own, rest = rest[:size], rest[size:]
        if kind == "BYTES":
            return _texts(bytes(own), count, name), rest
        if size != count * np.dtype(TYPES[kind]).itemsize:
            raise HTTPError(400, f"input {name}: {size} bytes are not {shape} of {kind}")
        return _shaped(np.frombuffer(own, TYPES[kind]), shape, name), rest
    data = tensor.get("data")
    if not isinstance(data, list):
        raise HTTPError(400, f"input {name}: data is a list")
    if kind == "BYTES":
        flat = [each for part in data for each in (part if isinstance(part, list) else [part])]
        if len(flat) != count or not all(isinstance(each, str | None) for each in flat):
            raise HTTPError(400, f"input {name}: expected {count} texts")
        return flat, rest
    try:
        array = np.asarray(data)
        if array.dtype.kind not in "buif" or array.size != count:
            raise ValueError(f"expected {count} numbers")
        exact = array.astype(TYPES[kind])
        if TYPES[kind]().dtype.kind in "ui" and not np.array_equal(exact, array):
            raise ValueError(f"a value is no {kind}")
        return _shaped(exact, shape, name), rest
    except (ValueError, TypeError, OverflowError) as error:
        raise HTTPError(400, f"input {name}: data does not fit {shape} of {kind}") from error


def _shaped(array: NDArray[Any], shape: list[int], name: str) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except ValueError as error:  # of nothing, in a shape that is too large
        raise HTTPError(400, f"input {name}: no array has the shape {shape}") from error


def _texts(content: bytes, count: int, name: str) -> list[str]:
    """Texts, each after its length in four bytes, little endian."""
    texts: list[str] = []
    place = 0
    while place + 4 <= len(content) and len(texts) < count:
        length = int.from_bytes(content[place : place + 4], "little")
        texts.append(content[place + 4 : place + 4 + length].decode("utf-8", "replace"))
        place += 4 + length
    if len(texts) != count or place != len(content):
        raise HTTPError(400, f"input {name}: expected {count} texts with their lengths")
    return texts


def _pixels(served: Served, tensors: Mapping[str, Any], most: int) -> NDArray[Any]:
    if is_table(served.shape):
        return _rows(served, tensors, most)
    if list(tensors) != [INPUT]:
        raise HTTPError(400, f"this model has one input, {INPUT!r}")
    array = tensors[INPUT]
    if isinstance(array, list):
        raise HTTPError(400, f"{INPUT}: pictures are numbers, not BYTES")
    if array.ndim == 0:
        raise HTTPError(400, f"{INPUT}: a single number is no picture")
    if len(array) > most:
        raise HTTPError(413, f"more than {most} items; send them in several requests")
    pixels = np.array(images_from_array(array, INPUT).pixels[:])
    if len(pixels):
        fitting(pixels[0], served.shape, INPUT)
    return pixels


def _rows(served: Served, tensors: Mapping[str, Any], most: int) -> NDArray[Any]:
    columns = served.columns
    assert columns is not None
    lists = {
        name: value if isinstance(value, list) else value.reshape(-1).tolist()
        for name, value in tensors.items()
    }
    if len({len(values) for values in lists.values()}) != 1:
        raise HTTPError(400, "all inputs must have as many rows")
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    read = rows_of(rows, columns, most)
    for item in read.items:
        if item.error:
            raise DataError(f"row {item.index}: {item.error}")
    return read.pixels


def _answer(
    served: Served, asked: Mapping[str, Any], found: Mapping[str, NDArray[Any]]
) -> Response:
    wanted = asked.get("outputs") or [{"name": name} for name in OUTPUTS]
    general = asked.get("parameters")
    binary_all = isinstance(general, dict) and bool(general.get("binary_data_output"))
    outputs: list[dict[str, Any]] = []
    tail = b""
    if not isinstance(wanted, list) or not all(isinstance(each, dict) for each in wanted):
        raise HTTPError(400, "outputs are a list of objects")
    names = [str(each.get("name")) for each in wanted]
    if len(set(names)) < len(names) or not set(names) <= set(OUTPUTS):
        raise HTTPError(400, f"outputs are some of {', '.join(OUTPUTS)}, each once")
    for name, each in zip(names, wanted, strict=True):
        values = found[name]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values)]}
        own = each.get("parameters")
        binary = own.get("binary_data", binary_all) if isinstance(own, dict) else binary_all
        if binary:
            content = np.ascontiguousarray(values).tobytes()
            output["parameters"] = {"binary_data_size": len(content)}
            tail += content
        else:
            output["data"] = values.tolist()
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": served.name, "model_version": served.version,
                              "outputs": outputs}  # fmt: skip
    if isinstance(asked.get("id"), str):
        answer["id"] = asked["id"][:200]
    if not tail:
        return json_answer(answer)
    head = json.dumps(answer).encode()
    return Response(head + tail, headers={HEADER: str(len(head))},
                    media_type="application/octet-stream")  # fmt: skip
