"""What `POST /v1/score` takes and gives: the detector's own scores, whatever else goes on."""

import base64
import io
import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas
import PIL.Image
import pytest

from anogen import load

from .conftest import npy, png

NPY = {"content-type": "application/x-npy"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def detector(pictures_run):
    return load(pictures_run).detector


@pytest.fixture
def x(digits_test):
    return np.array(digits_test.pixels[:40])


def test_an_array_has_the_scores_of_the_detector(serving, pictures_run, detector, x):
    with serving(pictures_run) as client:
        answer = client.post("/v1/score", content=npy(x), headers=NPY)
    told = answer.json()
    assert [each["score"] for each in told["results"]] == detector.score(x).tolist()
    assert [each["p_value"] for each in told["results"]] == detector.p_value(x).tolist()
    rate = told["false_positive_rate"]
    assert [each["label"] for each in told["results"]] == detector.predict(x, rate).tolist()
    assert told["threshold"] == detector.calibration.threshold(rate)
    assert [each["index"] for each in told["results"]] == list(range(40))


def test_many_clients_at_once_get_what_they_would_get_alone(serving, pictures_run, detector, x):
    expected = detector.score(x)
    generator = np.random.default_rng(0)
    asked = [generator.choice(40, generator.integers(1, 9)) for _ in range(120)]
    with serving(pictures_run) as client:

        def ask(rows):
            answer = client.post("/v1/score", content=npy(x[rows]), headers=NPY)
            return [each["score"] for each in answer.json()["results"]]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, asked))
    for rows, scores in zip(asked, answers, strict=True):
        assert scores == expected[rows].tolist()


@pytest.mark.parametrize("layout", ["one", "grey", "channels first", "channels last", "floats",
                                    "fortran"])  # fmt: skip
def test_layouts_of_arrays(serving, pictures_run, detector, x, layout):
    sent = {
        "one": x[0, 0], "grey": x[:3, 0], "channels first": x[:3],
        "channels last": x[:3].transpose(0, 2, 3, 1), "floats": x[:3].astype(float) / 255,
        "fortran": np.asfortranarray(x[:3]),
    }[layout]  # fmt: skip
    with serving(pictures_run) as client:
        told = client.post("/v1/score", content=npy(sent), headers=NPY).json()
        as_json = client.post("/v1/score", json={"images": sent.tolist()}).json()
    expected = detector.score(x[: 1 if layout == "one" else 3]).tolist()
    assert [each["score"] for each in told["results"]] == expected
    assert [each["score"] for each in as_json["results"]] == expected


def test_pictures_in_a_form_and_alone(serving, pictures_run, detector, x):
    files = [("file", (f"{i}.png", png(x[i, 0]), "image/png")) for i in range(3)]
    files.insert(1, ("file", ("bad.png", b"no picture", "image/png")))
    files.append(("file", ("array.npy", npy(x[3:5]), "application/octet-stream")))
    with serving(pictures_run) as client:
        results = client.post("/v1/score", files=files).json()["results"]
        alone = client.post(
            "/v1/score", content=png(x[0, 0]), headers={"content-type": "image/png"}
        )
    assert [each["name"] for each in results] == [
        "0.png", "bad.png", "1.png", "2.png", "array.npy", "array.npy"
    ]  # fmt: skip
    assert "not a PNG or JPEG picture" in results[1]["error"]
    scores = [each["score"] for each in results if "score" in each]
    assert scores == detector.score(x[:5]).tolist()
    assert alone.json()["results"][0]["score"] == scores[0]


def test_a_bad_image_of_an_array_is_an_error_for_itself(serving, pictures_run, detector, x):
    sent = x[:4].astype(float) / 255
    sent[2, 0, 3, 3] = np.nan
    with serving(pictures_run) as client:
        results = client.post("/v1/score", content=npy(sent), headers=NPY).json()["results"]
    assert "nan" in results[2]["error"]
    assert "score" not in results[2]
    good = [results[place]["score"] for place in (0, 1, 3)]
    assert good == detector.score(x[[0, 1, 3]]).tolist()


def test_a_picture_of_another_size_is_told(serving, pictures_run):
    with serving(pictures_run) as client:
        answer = client.post(
            "/v1/score", files={"file": ("big.png", png(np.zeros((9, 9), np.uint8)))}
        )
    assert answer.status_code == 200
    assert "the model has [1, 28, 28]" in answer.json()["results"][0]["error"]


def test_a_map_and_the_nearest(serving, pictures_run, x, digits_test):
    train = load(pictures_run).run.load_data().train
    sent = np.array(train.pixels[5:6])
    with serving(pictures_run) as client:
        told = client.post("/v1/score?explain=1&nearest=2", content=npy(sent), headers=NPY).json()
    (result,) = told["results"]
    drawn = PIL.Image.open(io.BytesIO(base64.b64decode(result["map"]["png"])))
    assert drawn.size == (28, 28)
    assert result["map"]["highest"] > 0
    near = PIL.Image.open(io.BytesIO(base64.b64decode(result["nearest"][0]["png"])))
    assert np.array_equal(np.asarray(near), sent[0, 0])
    assert result["nearest"][0]["squared_error"] == 0


def test_the_rate_of_a_request(serving, pictures_run, detector, x):
    with serving(pictures_run) as client:
        told = client.post("/v1/score?fpr=0.2", content=npy(x), headers=NPY).json()
        bad = [client.post(f"/v1/score?fpr={rate}", content=npy(x), headers=NPY)
               for rate in ("0.0001", "2", "nan", "x")]  # fmt: skip
    assert [each["label"] for each in told["results"]] == detector.predict(x, 0.2).tolist()
    assert [answer.status_code for answer in bad] == [400] * 4
    assert "cannot support a false-positive rate" in bad[0].json()["error"]


def test_rows_as_json_and_as_csv(serving, table_run, rows):
    detector = load(table_run).detector
    few = rows.head(5)
    with serving(table_run) as client:
        csv = client.post("/v1/score", content=few.to_csv(index=False).encode(),
                          headers={"content-type": "text/csv"}).json()["results"]  # fmt: skip
        listed = json.loads(few.to_json(orient="records", date_format="iso"))
        told = client.post("/v1/score", json={"rows": listed}).json()["results"]
        one = client.post("/v1/score", json=listed[0]).json()["results"]
    expected = detector.score(few).tolist()
    assert [each["score"] for each in csv] == expected
    assert [each["score"] for each in told] == expected
    assert [each["score"] for each in one] == expected[:1]


def test_a_bad_row_is_an_error_for_itself_and_others_have_reasons(serving, table_run, rows):
    good = {"amount": 20.5, "country": "FR", "when": "2024-02-01 10:00:00"}
    sent = [good, {**good, "amount": "much"}, {"amount": 1}, 7, {**good, "country": None},
            {**good, "amount": 9e9}, {**good, "country": ["FR"]}]  # fmt: skip
    with serving(table_run) as client:
        results = client.post("/v1/score?explain=1", json={"rows": sent}).json()["results"]
    errors = [each.get("error", "") for each in results]
    assert "amount" in errors[1]
    assert "the columns 'country', 'when' are missing" in errors[2]
    assert "a row is an object" in errors[3]
    assert "no value" in errors[6]
    assert [bool(error) for error in errors] == [False, True, True, True, False, False, True]
    assert results[5]["label"] == 1
    assert "amount 9000000000" in results[5]["reasons"][0]
    assert results[0]["reasons"] == []
    with serving(table_run) as client:
        assert "error" in client.post("/v1/score?explain=1", json=sent[1]).json()["results"][0]
    frame = pandas.DataFrame([good])
    assert results[0]["score"] == load(table_run).detector.score(frame)[0]


def test_several_runs_are_named(serving, pictures_run, table_run, x):
    with serving(pictures_run, table_run) as client:
        assert client.post("/v1/score", content=npy(x), headers=NPY).status_code == 400
        named = client.post("/v1/score?model=digits", content=npy(x[:1]), headers=NPY)
        unknown = client.post("/v1/score?model=digit", content=npy(x[:1]), headers=NPY)
        cards = client.get("/v1/models").json()["models"]
    assert named.json()["model"] == "digits"
    assert (unknown.status_code, "did you mean 'digits'?" in unknown.json()["error"]) == (404, True)
    assert [card["kind"] for card in cards] == ["pictures", "table"]
    assert cards[1]["columns"] == [
        {"name": "amount", "kind": "number"}, {"name": "country", "kind": "category"},
        {"name": "when", "kind": "date"},
    ]  # fmt: skip
    promise = next(p for p in cards[0]["promises"] if p["rate"] == cards[0]["false_positive_rate"])
    assert promise["low"] < promise["rate"] < promise["high"]


def bomb(side: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))  # fmt: skip


def array(shape: str, kind: str = "|u1") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"x" * 64


@pytest.mark.parametrize(("content", "kind", "status"), [
    (b"", "application/x-npy", 400),
    (array("(10000000000, 8, 8)"), "application/x-npy", 422),
    (array("(1, 8, 8)", "|O"), "application/x-npy", 422),
    (array("(-1, 8, 8)"), "application/x-npy", 422),
    (array("8, 8, 8, 8, 8"), "application/x-npy", 422),
    (b"\x93NUMPY\x01\x00\xff", "application/x-npy", 422),
    (npy(np.zeros((2, 8, 8), "<M8[s]")), "application/x-npy", 422),
    (b"[" * 100_000, "application/json", 400),
    (b'{"images": ' + b"[" * 90 + b"1" + b"]" * 90 + b"}", "application/json", 422),
    (b'{"images": 7}', "application/json", 400),
    (b" " * (17 << 20), "application/json", 413),
    (npy(np.uint8(7)), "application/x-npy", 422),
    (array("(0, 4611686018427387904, 4611686018427387904)")[:-64], "application/x-npy", 422),
    (array("(" + "1, " * 70 + ")")[:-63], "application/x-npy", 422),
    (b'{"images": [[1, 2], [3]]}', "application/json", 422),
    (b'{"images": "none"}', "application/json", 400),
    (b"7", "application/json", 400),
    (b"--x", "multipart/form-data", 400),
    (b"--x--", "multipart/form-data; boundary=x", 400),
    (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
     "multipart/form-data; boundary=x", 400),
])  # fmt: skip
def test_what_cannot_be_read_is_the_client_s_fault(serving, pictures_run, content, kind, status):
    with serving(pictures_run) as client:
        answer = client.post("/v1/score", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_a_bomb_is_refused_from_its_header(serving, pictures_run):
    with serving(pictures_run) as client:
        answer = client.post("/v1/score", content=bomb(60_000))
    assert "megapixels" in answer.json()["results"][0]["error"]


def test_compressed_bodies_and_wrong_kinds_are_refused(serving, pictures_run, table_run):
    with serving(pictures_run) as client:
        answer = client.post("/v1/score", content=zlib.compress(bytes(10**7)),
                             headers={"content-encoding": "deflate"})  # fmt: skip
        assert answer.status_code == 415
    with serving(table_run) as client:
        assert client.post("/v1/score", content=b"x", headers=NPY).status_code == 415
        assert client.post("/v1/score", json={"rows": []}).status_code == 400
        answer = client.post(
            "/v1/score", content=b"a,b\n1,2\n", headers={"content-type": "text/csv"}
        )
    assert (answer.status_code, "missing" in answer.json()["error"]) == (422, True)


def test_a_parameter_that_means_nothing_is_refused(serving, pictures_run, x):
    with serving(pictures_run) as client:
        answer = client.post("/v1/score?frp=0.1", content=npy(x), headers=NPY)
    assert answer.status_code == 400
    assert "did you mean 'fpr'?" in answer.json()["error"]


def test_a_try_is_not_kept(serving, pictures_run, x, tmp_path):
    from anogen.serving.store import Store

    with serving(pictures_run, store=Store.open(tmp_path / "s.sqlite")) as client:
        tried = client.post("/v1/score?keep=0", content=npy(x[:2]), headers=NPY).json()
        kept = client.post("/v1/score", content=npy(x[:1]), headers=NPY).json()
    assert "id" not in tried["results"][0]
    assert "id" in kept["results"][0]
    store = Store.open(tmp_path / "s.sqlite")
    assert len(store.scored()) == 1
    store.stop()


def test_limits_on_items(serving, pictures_run, x):
    with serving(pictures_run, max_items=10) as client:
        assert client.post("/v1/score", content=npy(x), headers=NPY).status_code == 413
        many = [("file", (f"{i}.png", png(x[i, 0]))) for i in range(11)]
        assert client.post("/v1/score", files=many).status_code == 400
    with serving(pictures_run) as client:
        much = np.repeat(x, 2, 0)
        answer = client.post("/v1/score?explain=1", content=npy(much), headers=NPY)
        assert answer.status_code == 413


def test_a_full_queue_and_a_deadline(serving, pictures_run, x, monkeypatch):
    import threading

    going = threading.Event()
    with serving(pictures_run, max_queue=45) as client:
        served = client.service.runs["digits"]
        scores = served.scores
        object.__setattr__(served, "scores", lambda parts: going.wait(20) and scores(parts))
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(client.post, "/v1/score", content=npy(x), headers=NPY)
            while not client.service.batcher.waiting:
                pass
            full = client.post("/v1/score", content=npy(x), headers=NPY)
            late = client.post("/v1/score?deadline_s=0.05", content=npy(x[:1]), headers=NPY)
            going.set()
            assert first.result().status_code == 200
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert late.status_code == 504
        again = client.post("/v1/score", content=npy(x), headers=NPY)
        assert again.status_code == 200
        assert client.service.batcher.waiting == 0
        assert client.service.batcher.held == 0


def test_one_request_that_fails_does_not_fail_its_neighbours(serving, pictures_run, x):
    with serving(pictures_run) as client:
        batcher = client.service.batcher

        async def both():
            import asyncio
            import time

            def work(payloads):
                if any(payload == "bad" for payload in payloads):
                    raise ValueError("no")
                return [payload.upper() for payload in payloads]

            until = time.monotonic() + 10
            return await asyncio.gather(
                *(batcher.do("key", work, each, 1, until) for each in ("a", "bad", "c")),
                return_exceptions=True,
            )

        first, second, third = client.portal.call(both)
    assert (first, third) == ("A", "C")
    assert isinstance(second, ValueError)


def test_samples(serving, pictures_run):
    with serving(pictures_run) as client:
        told = client.post("/v1/sample", json={"count": 3, "seed": 5}).json()
        same = client.post("/v1/sample", json={"latents": told["latents"], "seed": 5}).json()
        array = client.post("/v1/sample", json={"count": 3, "seed": 5},
                            headers={"accept": "application/x-npy"})  # fmt: skip
        sheet = client.post("/v1/sample", headers={"accept": "image/png"})
        bad = [client.post("/v1/sample", json=body) for body in (
            {"count": 0}, {"count": 10**6}, {"count": "x"}, {"seed": -1}, {"latents": [[1]]},
            {"latents": [[1e30, 0]]}, {"latents": "x"}, {"label": "7"}, {"more": 1}, [],
        )]  # fmt: skip
    assert told["images"] == same["images"]
    pixels = np.load(io.BytesIO(array.content))
    assert pixels.shape == (3, 1, 28, 28)
    drawn = PIL.Image.open(io.BytesIO(base64.b64decode(told["images"][2])))
    assert np.array_equal(np.asarray(drawn), pixels[2, 0])
    assert PIL.Image.open(io.BytesIO(sheet.content)).size == (112, 112)
    assert [answer.status_code for answer in bad] == [400] * 10


def test_a_conditional_run_draws_and_scores_nothing(serving, tmp_path, x):
    from anogen.cli.main import main

    run = tmp_path / "gan"
    model = ["--model", "GAN", "--model.classes", "10", "--model.width", "4", "--epochs", "1"]
    assert main(["train", *model, "--data", "digits", "--limit", "200", "--run", str(run)]) == 0
    with serving(run) as client:
        assert client.post("/v1/score", content=npy(x), headers=NPY).status_code == 400
        card = client.get("/v1/models/gan").json()
        assert card["labels"] == [str(n) for n in range(10)]
        assert "score" not in card
        assert client.post("/v1/sample", json={"label": "7"}).status_code == 200
        assert client.post("/v1/sample", json={"label": "x"}).status_code == 400


def test_a_table_is_not_drawn(serving, table_run):
    with serving(table_run) as client:
        assert client.post("/v1/sample", json={}).status_code == 400
