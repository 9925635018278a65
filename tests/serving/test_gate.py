"""Keys, limits, logs: what a request passes before and after it is answered."""

import io
import re

import numpy as np
import pytest

from anogen.errors import MachineError, UsageError
from anogen.serving.gate import Keys
from anogen.serving.openapi import description
from anogen.serving.settings import Settings
from anogen.serving.store import Store

from .conftest import lines_of, npy

KEY = "a key of enough letters"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


def test_keys_open_all_but_probes_and_the_page(serving, pictures_run):
    with serving(pictures_run, keys=Keys.of(["another key, a long one", KEY])) as client:
        for path in ("/v1/models", "/metrics", "/v2", "/v2/models/digits", "/v1/score", "/nothing"):
            refused = client.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"] == "Bearer"
            wrong = client.get(path, headers={"authorization": f"Bearer {KEY}x"})
            assert wrong.status_code == 401
        for path in ("/v2/health/live", "/v2/health/ready", "/", "/page/page.js", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert client.get("/v1/models", headers=AUTHORIZED).status_code == 200
        assert (
            client.get("/v1/models", headers={"authorization": f"Basic {KEY}"}).status_code == 401
        )


def test_keys_in_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# the camera's\n{KEY}\n\n")
    assert Keys.read(file).allow(f"bearer {KEY}")
    file.write_text("short\n")
    with pytest.raises(UsageError, match="at least 16"):
        Keys.read(file)
    file.write_text("# none\n")
    with pytest.raises(UsageError, match="no key"):
        Keys.read(file)
    with pytest.raises(MachineError, match="missing"):
        Keys.read(tmp_path / "nothing")


def test_only_names_of_this_machine_reach_an_open_service(serving, pictures_run):
    with serving(pictures_run, local=True) as client:
        for host in ("evil.example", "localhost.evil.example:8000", ""):
            assert client.get("/v1/models", headers={"host": host}).status_code == 421
        twice = [("host", "localhost"), ("host", "evil.example")]
        assert client.get("/v1/models", headers=twice).status_code == 400
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_nothing_of_a_request_is_logged_but_its_shape(serving, pictures_run):
    log = io.StringIO()
    secret = np.full((3, 28, 28), 77, np.uint8)
    with serving(pictures_run, keys=Keys.of([KEY]), log=log) as client:
        client.post("/v1/score?stream=secret-stream", content=npy(secret),
                    headers={**AUTHORIZED, "x-request-id": "abc-1"})  # fmt: skip
        client.post("/v1/score", files={"file": ("secret-name.png", b"x")}, headers=AUTHORIZED)
        client.get("/secret-path", headers=AUTHORIZED)
    text = log.getvalue()
    assert "secret" not in text
    assert KEY not in text
    first = lines_of(log)[0]
    assert first["request"] == "abc-1"
    assert (first["route"], first["status"], first["items"]) == ("/v1/score", 200, 3)
    assert first["bytes"] == len(npy(secret))


def test_requests_have_names(serving, pictures_run):
    with serving(pictures_run) as client:
        assert (
            client.get("/v2", headers={"x-request-id": "mine.1"}).headers["x-request-id"]
            == "mine.1"
        )
        odd = client.get("/v2", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
        other = client.get("/v2").headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", odd)
    assert odd != other


def test_a_fault_of_ours_is_one_line_and_no_trace(serving, pictures_run, monkeypatch):
    def broken(*_):
        raise ValueError("secret of the request")

    log = io.StringIO()
    with serving(pictures_run, log=log) as client:
        monkeypatch.setattr("anogen.serving.app.description", broken)
        answer = client.get("/openapi.json")
    assert answer.status_code == 500
    assert answer.json() == {"error": "a fault of the service; its log has more"}
    assert "secret" not in answer.text + log.getvalue()
    assert any(line.get("error") == "ValueError" and line["where"] for line in lines_of(log))


def test_bodies_are_bounded_before_and_while_they_are_read(serving, pictures_run):
    with serving(pictures_run, max_megabytes=0.01) as client:
        told = client.post("/v1/score", content=bytes(20_000))
        assert told.status_code == 413

        def parts():
            for _ in range(40):
                yield bytes(1000)

        streamed = client.post("/v1/score", content=parts())
        assert streamed.status_code == 413
        assert streamed.headers["connection"] == "close"
        small = npy(np.zeros((1, 28, 28), np.uint8))
        assert client.post("/v1/score", content=small).status_code == 200
    with serving(pictures_run, max_held_megabytes=0.005) as client:
        assert client.post("/v1/score", content=bytes(8000)).status_code == 429


def test_pages_of_other_hosts_cannot_use_the_answers(serving, pictures_run, tmp_path):
    store = Store.open(tmp_path / "s.sqlite")
    with serving(pictures_run, store=store) as client:
        page = client.get("/", headers={"origin": "https://evil.example"})
        form = client.post("/v1/feedback", content=b'{"id": "x", "verdict": "good"}',
                           headers={"content-type": "text/plain"})  # fmt: skip
    assert "access-control-allow-origin" not in page.headers
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert form.status_code == 415


@pytest.mark.parametrize("path", ["/page/../served.py", "/page/%2e%2e/served.py", "/v1/score/",
                                  "/v2/models/%2e%2e", "/v2/models/digits/versions/x"])  # fmt: skip
def test_odd_paths_lead_nowhere(serving, pictures_run, path):
    with serving(pictures_run) as client:
        answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_metrics_count(serving, pictures_run):
    with serving(pictures_run) as client:
        client.post("/v1/score", content=npy(np.zeros((3, 28, 28), np.uint8)),
                    headers={"content-type": "application/x-npy"})  # fmt: skip
        client.post("/v1/score", content=b"x")
        text = client.get("/metrics").text
    assert 'anogen_requests_total{method="POST",route="/v1/score",status="200"} 2.0' in text
    flagged, passed, failed = (
        float(
            re.search(rf'anogen_items_total{{model="digits",outcome="{outcome}"}} (\S+)', text)[1]
        )
        for outcome in ("flagged", "passed", "failed")
    )
    assert (flagged + passed, failed) == (3, 1)
    assert "anogen_items_waiting 0.0" in text


def test_the_description_is_valid_and_whole(serving, pictures_run):
    from openapi_spec_validator import validate

    validate(description())
    with serving(pictures_run) as client:
        told = client.get("/openapi.json").json()
        routes = client.app.app.routes
    described = {(path, method) for path, operations in told["paths"].items()
                 for method in operations if method != "parameters"}  # fmt: skip
    served = {
        (route.path, method.lower())
        for route in routes
        for method in route.methods - {"HEAD"}
        if not route.path.startswith("/page/") and route.path != "/"
    }
    assert described == served


@pytest.mark.parametrize("wrong", [{"max_items": 0}, {"deadline_s": float("nan")}, {"fpr": 1.5},
                                   {"max_queue": 1.5}, {"nothing": 1}])  # fmt: skip
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(UsageError):
        Settings.of(wrong)
