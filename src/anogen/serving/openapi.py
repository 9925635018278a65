"""The description of the service in OpenAPI 3.1."""

from typing import Any

from anogen import __version__

JSON = "application/json"


def description() -> dict[str, Any]:
    """The whole description, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "anogen", "version": __version__,
            "description": "Trained generative models as detectors: scores, p-values and labels "
            "at a false-positive rate that is kept, explanations, new pictures, and a watch over "
            "the stream.",
        },
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer",
                    "description": "Needed where the service was started with --key_file."},
        }},
        "security": [{}, {"key": []}],
    }  # fmt: skip


def _query(name: str, kind: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": kind, "description": about}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


MODEL = _query("model", {"type": "string"}, "Name of the run; needed where there are several.")
DEADLINE = _query("deadline_s", {"type": "number", "exclusiveMinimum": 0},
                  "Seconds after which no answer is wanted (504).")  # fmt: skip
FILE = {"type": "string", "contentMediaType": "application/octet-stream"}


def _answer(about: str, schema: dict[str, Any] | None = None, kind: str = JSON) -> dict[str, Any]:
    return {"description": about, "content": {kind: {"schema": schema or {"type": "object"}}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(*statuses: int) -> dict[str, Any]:
    told = {
        400: "The request makes no sense; the message says what does.",
        401: "A key is needed.", 404: "There is no such thing.",
        408: "The request did not come in time.",
        413: "Too large; send less at a time.", 415: "A kind of content that is not taken.",
        422: "A file that cannot be read.",
        429: "Too much is waiting; try again after Retry-After.",
        503: "Not ready, or stopping.", 504: "Not done before the deadline.",
    }  # fmt: skip
    return {str(status): _answer(told[status], _ref("Error")) for status in statuses}


USUAL = (400, 401, 404, 408, 413, 429, 504)


def _operation(name: str, summary: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": answers, **more}


def _paths() -> dict[str, Any]:
    infer = _operation(
        "infer", "Open Inference Protocol: tensors in, score, p_value and label out",
        {"200": _answer("The outputs; binary where that was asked for."), **_errors(*USUAL, 422)},
        requestBody={"required": True, "content": {
            JSON: {"schema": _ref("InferenceRequest")}, "application/octet-stream": {"schema": FILE}
        }},
    )  # fmt: skip
    metadata = _operation("metadata", "Open Inference Protocol: inputs and outputs of a run",
                          {"200": _answer("The metadata."), **_errors(401, 404)})  # fmt: skip
    model_ready = _operation("modelReady", "Whether a run takes requests",
                             {"200": _answer("It does."), **_errors(401, 404, 503)})  # fmt: skip
    name, version = _path("name"), _path("version")

    def versioned(operation: dict[str, Any]) -> dict[str, Any]:
        return {**operation, "operationId": operation["operationId"] + "Version"}

    return {
        "/v1/score": {"post": _score()},
        "/v1/sample": {"post": _sample()},
        "/v1/restore": {"post": _restore()},
        "/v1/translate": {"post": _translate()},
        "/v1/models": {"get": _operation(
            "models", "All runs: what they take, and what they promise",
            {"200": _answer("Their cards.", {"type": "object", "properties": {
                "models": {"type": "array", "items": _ref("Card")}}}), **_errors(401)})},
        "/v1/models/{name}": {"parameters": [name], "get": _operation(
            "model", "One run", {"200": _answer("Its card.", _ref("Card")), **_errors(401, 404)})},
        "/v1/watch": {"get": _operation(
            "watch", "Whether the stream is still what the detectors were calibrated for",
            {"200": _answer("The watches."), **_errors(401, 404)})},
        "/v1/feedback": {
            "post": _feedback(),
            "get": _operation("verdicts", "Verdicts so far, and how they agree with the labels",
                              {"200": _answer("Counts and the last verdicts."),
                               **_errors(400, 401, 404)}, parameters=[MODEL])},
        "/v1/feedback.csv": {"get": _operation(
            "verdictsAsTable", "All verdicts, as a labelled set",
            {"200": _answer("One row each.", {"type": "string"}, "text/csv"), **_errors(401, 404)},
            parameters=[MODEL])},
        "/v2": {"get": _operation("server", "Open Inference Protocol: the server",
                                  {"200": _answer("Name and version."), **_errors(401)})},
        "/v2/health/live": {"get": _operation(
            "live", "Whether the process runs; needs no key", {"200": _answer("It does.")})},
        "/v2/health/ready": {"get": _operation(
            "ready", "Whether requests are taken; needs no key",
            {"200": _answer("They are."), **_errors(503)})},
        "/v2/models/{name}": {"parameters": [name], "get": metadata},
        "/v2/models/{name}/ready": {"parameters": [name], "get": model_ready},
        "/v2/models/{name}/infer": {"parameters": [name, DEADLINE], "post": infer},
        "/v2/models/{name}/versions/{version}": {
            "parameters": [name, version], "get": versioned(metadata)},
        "/v2/models/{name}/versions/{version}/ready": {
            "parameters": [name, version], "get": versioned(model_ready)},
        "/v2/models/{name}/versions/{version}/infer": {
            "parameters": [name, version, DEADLINE], "post": versioned(infer)},
        "/metrics": {"get": _operation(
            "metrics", "Counts for Prometheus",
            {"200": _answer("Its text format.", {"type": "string"}, "text/plain"),
             **_errors(401)})},
        "/openapi.json": {"get": _operation("description", "This description; needs no key",
                                            {"200": _answer("It.")})},
    }  # fmt: skip


def _score() -> dict[str, Any]:
    return _operation(
        "score", "Score pictures, arrays or rows",
        {"200": _answer("A result for each item, in order; a bad item has an error in the place "
                        "of a score.", _ref("Scores")),
         **_errors(*USUAL, 415, 422)},
        description="Pictures as a form of files or one as the body; an array `[n, h, w]` or "
        "`[n, c, h, w]` as a .npy file; rows of a table as JSON or CSV. The score of an item does "
        "not depend on what else is scored with it, and is that of `anogen score`, bit for bit.",
        parameters=[
            MODEL, DEADLINE,
            _query("fpr", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                   "Share of in-distribution items that may be labelled 1; default: the run's."),
            _query("explain", {"type": "boolean"}, "Pictures: a map of what stands out, as PNG in "
                   "base64. Rows labelled 1: reasons in words. At most 64 items."),
            _query("nearest", {"type": "integer", "minimum": 0, "maximum": 10},
                   "With explain: so many of the most similar training pictures."),
            _query("keep", {"type": "boolean"}, "0: neither keep nor watch these scores."),
            _query("stream", {"type": "string", "maxLength": 64},
                   "Where the items come from, such as a camera; each stream is watched apart."),
        ],
        requestBody={"required": True, "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {
                "file": {"type": "array", "items": FILE}}}},
            "image/png": {"schema": FILE}, "image/jpeg": {"schema": FILE},
            "application/octet-stream": {"schema": FILE},
            JSON: {"schema": {"type": "object", "properties": {
                "rows": {"type": "array", "items": {"type": "object"}},
                "images": {"type": "array"}}}},
            "text/csv": {"schema": {"type": "string"}},
        }},
    )  # fmt: skip


def _sample() -> dict[str, Any]:
    return _operation(
        "sample", "Draw new pictures, or decode latents",
        {"200": {"description": "The pictures; what comes depends on Accept.", "content": {
            JSON: {"schema": {"type": "object", "properties": {
                "images": {"type": "array", "items": {
                    "type": "string", "contentEncoding": "base64",
                    "contentMediaType": "image/png"}}}}},
            "image/png": {"schema": FILE}, "application/x-npy": {"schema": FILE}}},
         **_errors(*USUAL)},
        parameters=[MODEL, DEADLINE],
        requestBody={"required": False, "content": {JSON: {"schema": {
            "type": "object", "properties": {
                "count": {"type": "integer", "minimum": 1, "maximum": 256, "default": 16},
                "seed": {"type": "integer", "minimum": 0, "default": 0},
                "label": {"type": "string"},
                "text": {"type": "string", "description": "What is to be seen, for a run that was "
                         "trained on captions."},
                "guidance": {"type": "number", "default": 1, "description": "How closely to "
                             "follow the text; more at the cost of variety."},
                "latents": {"type": "array", "items": {"type": "array",
                                                       "items": {"type": "number"}}}}}}}},
    )  # fmt: skip


PICTURES = {
    kind: {"schema": FILE}
    for kind in ("image/png", "image/jpeg", "image/tiff", "image/bmp", "image/webp",
                 "application/x-npy")
}  # fmt: skip


def _restore() -> dict[str, Any]:
    return _operation(
        "restore", "Take noise, blur or holes out of a picture",
        {"200": {"description": "A picture like the one that was sent.", "content": PICTURES},
         **_errors(*USUAL, 415, 422)},
        description="One picture as the body or in a form; in a form a second one may say what is "
        "missing, white where it is. A Restorer takes pictures of any size, another model those of "
        "its own.",
        parameters=[
            MODEL, DEADLINE,
            _query("method", {"enum": ["auto", "net", "posterior"]}, "See `anogen restore`."),
            _query("level", {"type": "number", "minimum": 0, "maximum": 10},
                   "Standard deviation of the noise, full range 1, for a net that is told."),
        ],
        requestBody=_pictures(2),
    )  # fmt: skip


def _translate() -> dict[str, Any]:
    return _operation(
        "translate", "A picture as another domain would have it",
        {"200": {"description": "A picture of the same format, in the size of the model.",
                 "content": PICTURES}, **_errors(*USUAL, 415, 422)},
        description="One picture of any domain of a Translator, as the body or in a form; it is "
        "brought to the size and colours of the model, as in training.",
        parameters=[MODEL, DEADLINE,
                    _query("to", {"type": "string"}, "The domain; its card lists all.")],
        requestBody=_pictures(1),
    )  # fmt: skip


def _pictures(most: int) -> dict[str, Any]:
    """A body of a picture, or a form with so many."""
    form = {"file": {"type": "array", "items": FILE, "maxItems": most}}
    schema = {"schema": {"type": "object", "properties": form}}
    return {"required": True, "content": {"multipart/form-data": schema, **PICTURES}}


def _feedback() -> dict[str, Any]:
    verdict = {"type": "object", "required": ["id", "verdict"], "properties": {
        "id": {"type": "string"}, "verdict": {"enum": ["good", "bad"]},
        "note": {"type": "string", "maxLength": 2000}}}  # fmt: skip
    either = "With a form; else it stands in the JSON."
    return _operation(
        "judge", "An operator's verdict on an item that was scored",
        {"200": _answer("What is kept, and how verdicts and labels agree so far."),
         **_errors(400, 401, 404, 413, 415)},
        description="With a form instead, id, verdict and note stand in the query, and the form "
        "has the picture, which is then kept too.",
        parameters=[_query(name, schema, either) for name, schema in (
            ("id", {"type": "string"}), ("verdict", {"enum": ["good", "bad"]}),
            ("note", {"type": "string", "maxLength": 2000}))],
        requestBody={"required": True, "content": {
            JSON: {"schema": verdict},
            "multipart/form-data": {"schema": {"type": "object",
                                               "properties": {"file": FILE}}}}},
    )  # fmt: skip


def _schemas() -> dict[str, Any]:
    number, text = {"type": "number"}, {"type": "string"}
    return {
        "Error": {"type": "object", "required": ["error"], "properties": {"error": text}},
        "Result": {
            "type": "object", "required": ["name", "index"], "properties": {
                "name": text, "file": {"type": "integer"}, "index": {"type": "integer"},
                "id": text, "error": text,
                "score": {**number, "description": "Higher means further out."},
                "p_value": {**number, "description": "Conformal, in (0, 1]; small means out."},
                "label": {"enum": [0, 1], "description": "1 for out."},
                "reasons": {"type": "array", "items": text},
                "map": {"type": "object", "properties": {
                    "png": text, "highest": number, "of": text}},
                "nearest": {"type": "array", "items": {"type": "object"}},
            },
        },
        "Scores": {
            "type": "object", "properties": {
                "model": text, "version": text, "score": text, "false_positive_rate": number,
                "threshold": number, "results": {"type": "array", "items": _ref("Result")},
            },
        },
        "Card": {
            "type": "object", "properties": {
                "name": text, "version": text, "kind": {"enum": ["pictures", "table"]},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "score": text, "false_positive_rate": number, "threshold": number,
                "promises": {"type": "array", "items": {"type": "object"}},
            },
        },
        "InferenceRequest": {
            "type": "object", "required": ["inputs"], "properties": {
                "id": text,
                "inputs": {"type": "array", "items": {
                    "type": "object", "required": ["name", "shape", "datatype"], "properties": {
                        "name": text, "datatype": text, "data": {"type": "array"},
                        "shape": {"type": "array", "items": {"type": "integer"}}}}},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
        },
    }  # fmt: skip
