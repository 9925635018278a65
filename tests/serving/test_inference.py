"""The Open Inference Protocol, by hand and by the client of Triton, which many use."""

import json

import numpy as np
import pytest

from anogen import load
from anogen.serving.store import Store

from .conftest import npy

NAME = "/v2/models/digits"


def request(x: np.ndarray, **more) -> dict:
    return {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "UINT8",
                        "data": x.ravel().tolist()}], **more}  # fmt: skip


@pytest.fixture
def x(digits_test):
    return np.array(digits_test.pixels[:6])


def test_metadata_and_health(serving, pictures_run, table_run):
    with serving(pictures_run, table_run) as client:
        told = client.get(NAME).json()
        assert told["inputs"] == [{"name": "input", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
        assert [output["name"] for output in told["outputs"]] == ["score", "p_value", "label"]
        version = told["versions"][0]
        for path in ("/v2/health/live", "/v2/health/ready", f"{NAME}/ready", "/v2",
                     f"{NAME}/versions/{version}", f"{NAME}/versions/{version}/ready"):  # fmt: skip
            assert client.get(path).status_code == 200
        table = client.get("/v2/models/payments").json()
        assert [(i["name"], i["datatype"]) for i in table["inputs"]] == [
            ("amount", "FP64"), ("country", "BYTES"), ("when", "BYTES")
        ]  # fmt: skip
        client.service.stopping = True
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/health/live").status_code == 200


def test_scores_are_those_of_the_detector(serving, pictures_run, x):
    detector = load(pictures_run).detector
    with serving(pictures_run) as client:
        told = client.post(f"{NAME}/infer", json=request(x, id="a-1")).json()
        floats = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32",
                              "data": (x / np.float32(255)).tolist()}]}  # fmt: skip
        same = client.post(f"{NAME}/infer", json=floats).json()
        only = client.post(f"{NAME}/infer", json=request(x, outputs=[{"name": "label"}])).json()
    assert told["id"] == "a-1"
    outputs = {output["name"]: output for output in told["outputs"]}
    assert outputs["score"]["data"] == detector.score(x).tolist()
    assert outputs["p_value"]["data"] == detector.p_value(x).tolist()
    assert outputs["score"]["shape"] == [6]
    assert same["outputs"][0]["data"] == outputs["score"]["data"]
    assert [output["name"] for output in only["outputs"]] == ["label"]


def test_binary_tensors(serving, pictures_run, x):
    head = json.dumps({"inputs": [{
        "name": "input", "shape": list(x.shape), "datatype": "UINT8",
        "parameters": {"binary_data_size": x.nbytes},
    }], "outputs": [{"name": "score", "parameters": {"binary_data": True}}]}).encode()  # fmt: skip
    headers = {"inference-header-content-length": str(len(head))}
    with serving(pictures_run) as client:
        answer = client.post(f"{NAME}/infer", content=head + x.tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:length])
    assert told["outputs"][0]["parameters"]["binary_data_size"] == 48
    scores = np.frombuffer(answer.content[length:], np.float64)
    assert np.array_equal(scores, load(pictures_run).detector.score(x))


def test_rows(serving, table_run, rows):
    few = rows.head(3)
    inputs = [
        {"name": "amount", "shape": [3, 1], "datatype": "FP64", "data": few.amount.tolist()},
        {"name": "country", "shape": [3, 1], "datatype": "BYTES", "data": few.country.tolist()},
        {"name": "when", "shape": [3, 1], "datatype": "BYTES",
         "data": [str(when) for when in few.when]},
    ]  # fmt: skip
    with serving(table_run) as client:
        told = client.post("/v2/models/payments/infer", json={"inputs": inputs}).json()
        del inputs[1]
        missing = client.post("/v2/models/payments/infer", json={"inputs": inputs})
    assert told["outputs"][0]["data"] == load(table_run).detector.score(few).tolist()
    assert (missing.status_code, missing.json()["error"]) == (
        422,
        "row 0: the column 'country' is missing",
    )


ONE = {"name": "input", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
WRONG = [
    {}, [], {"inputs": []}, {"inputs": [7]}, {"inputs": [{"name": "input"}]},
    {"inputs": [{**ONE, "name": "other"}]}, {"inputs": [{**ONE, "data": [0]}]},
    {"inputs": [{**ONE, "data": [300] * 784}]}, {"inputs": [{**ONE, "data": [0.5] * 784}]},
    {"inputs": [{"name": "input", "shape": [-1], "datatype": "UINT8", "data": []}]},
    {"inputs": [{"name": "input", "shape": [784], "datatype": "WHAT", "data": [0] * 784}]},
    {"inputs": [{"name": "input", "shape": [1], "datatype": "BYTES", "data": ["x"]}]},
    {"inputs": [{**ONE, "shape": [], "data": [0]}]}, {"inputs": [ONE, ONE]},
    {"inputs": [ONE], "outputs": [{"name": []}]}, {"inputs": [{**ONE, "shape": [1] * 70}]},
    {"inputs": [{**ONE, "shape": [2**31 - 1] * 300_000}]},
    {"inputs": [{**ONE, "shape": [0, 2**30, 2**30, 2**30], "data": []}]},
    {"inputs": [ONE], "outputs": [{"name": "score"}, {"name": "score"}]},
    {"inputs": [{"name": "input", "shape": [10**9] * 4, "datatype": "UINT8",
                 "parameters": {"binary_data_size": 4}}]},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_wrong_requests(serving, pictures_run, wrong):
    with serving(pictures_run) as client:
        answer = client.post(f"{NAME}/infer", json=wrong)
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("length", ["x", "-1", "99999999", "3"])
def test_wrong_lengths(serving, pictures_run, x, length):
    with serving(pictures_run) as client:
        answer = client.post(f"{NAME}/infer", json=request(x),
                             headers={"inference-header-content-length": length})  # fmt: skip
    assert answer.status_code == 400


def test_an_odd_id_comes_back(serving, pictures_run, x):
    body = json.dumps(request(x)).replace("{", '{"id": "\\ud800", ', 1)
    with serving(pictures_run) as client:
        answer = client.post(f"{NAME}/infer", content=body.encode())
    assert answer.json()["id"] == "\ud800"


def test_unknown_models_outputs_and_versions(serving, pictures_run, x):
    with serving(pictures_run) as client:
        assert client.post("/v2/models/other/infer", json=request(x)).status_code == 404
        assert client.post(f"{NAME}/versions/1/infer", json=request(x)).status_code == 404
        wrong = client.post(f"{NAME}/infer", json=request(x, outputs=[{"name": "class"}]))
        assert wrong.status_code == 400
        large = client.post(f"{NAME}/infer", content=npy(x))
        assert large.status_code == 400


def test_what_is_inferred_is_kept_and_watched(serving, pictures_run, x, tmp_path):
    store = Store.open(tmp_path / "s.sqlite")
    with serving(pictures_run, store=store) as client:
        assert client.post(f"{NAME}/infer?stream=line-1", json=request(x)).status_code == 200
    store = Store.open(tmp_path / "s.sqlite")
    kept = store.scored()
    store.stop()
    assert [row.score for row in kept] == load(pictures_run).detector.score(x).tolist()
    assert {row.stream for row in kept} == {"line-1"}
