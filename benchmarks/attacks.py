"""Requests that no client means well with: random ones of every kind that came to mind."""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KEY = "Authorization: Bearer a-key-of-more-than-16\r\n"
PATHS = ("/v1/score", "/v1/sample", "/v1/feedback", "/v2/models/mnist/infer", "/v1/models", "/")
KINDS = ("application/x-npy", "application/json", "image/png", "text/csv", "multipart/form-data",
         "multipart/form-data; boundary=x", "x" * 300, "text/csv; charset=\x00")  # fmt: skip

Random = random.Random
Attack = tuple[bytes, bool]
"""What is sent, and whether the service may rightly keep waiting for more."""


def attacks(generator: Random, images: NDArray[np.uint8]) -> Attack:
    """One request; which kind of attack, and its details, are drawn."""
    kind: Callable[[Random, NDArray[np.uint8]], Attack] = generator.choice(ALL)
    return kind(generator, images)


def request(
    path: str, body: bytes = b"", kind: str = KINDS[0], key: str = KEY, method: str = "POST",
    more: str = "",
) -> bytes:  # fmt: skip
    """A request as bytes."""
    head = (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Type: {kind}\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
    return head.encode("latin-1", "replace") + body


def npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def truncated(generator: Random, images: NDArray[np.uint8]) -> Attack:
    whole = request("/v1/score", npy(images[:3]))
    return whole[: generator.randrange(1, len(whole))], True


def damaged(generator: Random, images: NDArray[np.uint8]) -> Attack:
    body = bytearray(generator.choice([npy(images[:2]), picture(images), form(images)]))
    for _ in range(generator.randrange(1, 20)):
        body[generator.randrange(len(body))] = generator.randrange(256)
    return request("/v1/score", bytes(body), generator.choice(KINDS)), False


def picture(images: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(images[0, 0]).save(content, "PNG")
    return content.getvalue()


def form(images: NDArray[np.uint8]) -> bytes:
    return (b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../etc/passwd\0.png"'
            b"\r\n\r\n" + picture(images) + b"\r\n--x--\r\n")  # fmt: skip


def huge_claim(generator: Random, images: NDArray[np.uint8]) -> Attack:
    length = generator.choice(["99999999999", "-1", "1e9", "0x10", "+5", "9" * 4000, "1, 1", ""])
    head = f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n{KEY}Content-Length: {length}\r\n\r\n"
    return head.encode() + b"x" * 100, True


def huge_array(generator: Random, images: NDArray[np.uint8]) -> Attack:
    shapes = ["(9999999999, 28, 28)", "(-1, 28, 28)", "(1000000, 1000000)", "()", "(0, 28, 28)",
              "(2, 0, 0)", "(1, 28, 28, 1, 1, 1, 1)", "'x'"]  # fmt: skip
    shape = generator.choice(shapes)
    kind = generator.choice(["|u1", "|O", "<f8", "|S10", "<M8[s]", "|V9999999", "[('a', '<f8')]"])
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"x" * 784
    return request("/v1/score", body), False


def bomb(generator: Random, images: NDArray[np.uint8]) -> Attack:
    """A PNG that claims, or is, far more pixels than its bytes suggest."""
    side = generator.choice([2_000, 30_000, 2**31 - 1])

    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2_001 * 2_000)) if side == 2_000 else zlib.compress(bytes(1000))
    body = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows)
            + chunk(b"IEND", b""))  # fmt: skip
    return request("/v1/score?explain=1", body, "image/png"), False


def deep_json(generator: Random, images: NDArray[np.uint8]) -> Attack:
    depth = generator.choice([50, 5_000, 100_000])
    opened, closed = generator.choice([(b"[", b"]"), (b'{"a":', b"}")])
    body = opened * depth + b"1" + closed * depth
    return request(generator.choice(PATHS), body, "application/json"), False


def wrong_types(generator: Random, images: NDArray[np.uint8]) -> Attack:
    odd: list[Any] = [None, True, "x", -1, 1e308, 10**400, [], {}, [[]], [None], {"a": 1}, "\ud800"]
    names = ["rows", "images", "latents", "count", "seed", "label", "model", "id", "verdict",
             "note", "inputs", "outputs", "parameters"]  # fmt: skip
    value = {name: generator.choice(odd) for name in generator.sample(names, 4)}
    if generator.random() < 0.3:
        shape, kinds = generator.choice([odd, [1, -1]]), ["UINT8", "FP64", "BYTES", 3]
        value["inputs"] = [{"name": generator.choice(odd), "shape": shape,
                            "datatype": generator.choice(kinds),
                            "data": generator.choice(odd)}]  # fmt: skip
    body = json.dumps(generator.choice([value, generator.choice(odd)])).encode()
    return request(generator.choice(PATHS), body, "application/json"), False


def wrong_query(generator: Random, images: NDArray[np.uint8]) -> Attack:
    query = generator.choice([
        "fpr=0", "fpr=nan", "fpr=1e-12", "fpr=x", "explain=maybe", "nearest=-1", "nearest=1e9",
        "model=../../etc", "model=%00", "stream=" + "s" * 500, "stream=%0a", "deadline_s=-1",
        "deadline_s=inf", "deadline_s=1e-9", "%ff=%fe", "a=" * 500, "explain=1&nearest=10",
    ])  # fmt: skip
    return request(f"/v1/score?{query}", npy(images[:1])), False


def wrong_key(generator: Random, images: NDArray[np.uint8]) -> Attack:
    given = ["Bearer", "Basic eDp4", "Bearer \xff\xfe", "B" * 9000, "Bearer a-key-of-more-than-1"]
    key = generator.choice(["", f"Authorization: {generator.choice(given)}\r\n"])
    return request(generator.choice(PATHS), npy(images[:1]), key=key), False


def path_tricks(generator: Random, images: NDArray[np.uint8]) -> Attack:
    path = generator.choice([
        "/page/../../../etc/passwd", "/page/%2e%2e/%2e%2e/etc/passwd", "/..", "//", "/%00", "/%ff",
        "/v2/models/%2e%2e/infer", "/v2/models/" + "a" * 9000, "/page/page.js%00.png", "*",
        "/v1/models/..%2f..%2f", "http://evil/v1/models", "/v1/score/", "/\\..\\x",
    ])  # fmt: skip
    method = generator.choice(["GET", "POST", "DELETE", "TRACE", "PROPFIND", "HEAD", "OPTIONS"])
    return request(path, method=method), method == "HEAD"


def header_flood(generator: Random, images: NDArray[np.uint8]) -> Attack:
    lines = "".join(f"X-{n}: {'y' * generator.choice([1, 100])}\r\n"
                    for n in range(generator.choice([100, 2_000])))  # fmt: skip
    whole = request("/v1/models", more=lines, method="GET")
    return (whole, False) if generator.random() < 0.5 else (whole[:-10], True)


def no_http(generator: Random, images: NDArray[np.uint8]) -> Attack:
    return generator.choice([
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"\r\n" * 50, b"\x00" * 500,
        b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: 5\r\n\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade"
        b"\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
        bytes(generator.randrange(256) for _ in range(300)),
    ]), True  # fmt: skip


def forms(generator: Random, images: NDArray[np.uint8]) -> Attack:
    body = generator.choice([
        b"--x\r\n" * 3000, b"--x--", b"", form(images), b"--x\r\nContent-Disposition: form-data\r\n"
        b"\r\n\r\n--x--\r\n", form(images).replace(b"filename", b"filenam"),
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"v" * 10_000 + b"\r\n--x--",
        b"".join(b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n\r\n'
                 for _ in range(5_000)) + b"--x--",
        b"--x\r\n" + b"H: v\r\n" * 5_000 + b"\r\n--x--",
    ])  # fmt: skip
    return request(generator.choice(["/v1/score", "/v1/feedback?id=a&verdict=good"]), body,
                   generator.choice(KINDS[4:6])), False  # fmt: skip


def compressed(generator: Random, images: NDArray[np.uint8]) -> Attack:
    body = zlib.compress(bytes(50_000_000))
    return request("/v1/score", body, more="Content-Encoding: deflate\r\n"), False


def binary_tensors(generator: Random, images: NDArray[np.uint8]) -> Attack:
    size = generator.choice([784, -1, 10**12, 0, "x", None])
    head = json.dumps({"inputs": [{
        "name": "input", "shape": generator.choice([[1, 1, 28, 28], [10**9] * 4, [1], [-1]]),
        "datatype": generator.choice(["UINT8", "FP32", "BYTES", "WHAT"]),
        "parameters": {"binary_data_size": size},
    }]}).encode()  # fmt: skip
    length = generator.choice([len(head), 0, 10**9, len(head) - 3, "x"])
    return request("/v2/models/mnist/infer", head + images[0].tobytes(),
                   more=f"Inference-Header-Content-Length: {length}\r\n"), False  # fmt: skip


ALL = (
    truncated, damaged, damaged, huge_claim, huge_array, bomb, deep_json, wrong_types, wrong_types,
    wrong_query, wrong_key, path_tricks, header_flood, no_http, forms, compressed, binary_tensors,
)  # fmt: skip
