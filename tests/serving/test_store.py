"""What a service keeps: scores, verdicts, watches; and what is made of them afterwards."""

import csv
import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from anogen import Run, load
from anogen.detection.refresh import approved
from anogen.detection.watch import Alarm
from anogen.errors import DataError, MachineError, UsageError
from anogen.serving.alerts import alerts_to
from anogen.serving.store import Store
from anogen.serving.tables import Kept, Scored
from anogen.serving.verdicts import export_verdicts
from anogen.serving.watching import MOST_STREAMS, Watched, Watcher
from anogen.serving.worker import alone

from .conftest import npy, png

NPY = {"content-type": "application/x-npy"}


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path / "store.sqlite")
    yield opened
    opened.stop()


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def scored(number: int, score: float = 1.0, **more) -> Scored:
    values = {"item": f"i-{number}", "time": 1.5 * number, "model": "digits", "version": "v1",
              "stream": "", "score": score, "p_value": 0.5, "label": 0,
              "statistics": {"size": 0.25}}  # fmt: skip
    return Scored(**(values | more))


def test_scores_come_back_as_they_were_kept(store):
    store.start()
    rows = [scored(number, 0.1 + number) for number in range(100)]
    store.keep(rows)
    until(lambda: len(store.scored()) == 100)
    back = store.scored(most=1000)
    assert [row.score for row in back] == [row.score for row in rows]
    assert [row.number for row in back] == list(range(1, 101))
    assert back[3].statistics == {"size": 0.25}
    assert store.find("i-7").score == 7.1
    assert store.find("nothing") is None
    assert len(store.scored(after=90)) == 10


def test_a_store_that_was_removed_is_made_again(tmp_path):
    store = Store.open(tmp_path / "s.sqlite")
    store._insert([scored(1)])
    for file in tmp_path.iterdir():
        file.unlink()
    store.forget_connections()  # as a process that was started afterwards
    store._insert([scored(2)])
    assert [row.item for row in store.scored()] == ["i-2"]
    assert store.lost == 0
    store.stop()


def test_only_one_watches_a_store(tmp_path):
    store = Store.open(tmp_path / "s.sqlite")
    with alone(store, lambda: False) as first:
        assert first
        asked = []
        with alone(store, lambda: len(asked) > 1 or asked.append(1)) as second:
            assert not second
    with alone(store, lambda: False) as third:
        assert third
    store.stop()


def test_old_rows_are_dropped(tmp_path):
    store = Store.open(tmp_path / "s.sqlite", keep_rows=50)
    for start in range(0, 200, 20):
        store._insert([scored(number) for number in range(start, start + 20)])
    store._prune()
    assert [row.item for row in store.scored()] == [f"i-{n}" for n in range(150, 200)]
    store.stop()


def test_stores_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="no database that can be used"):
        Store.open("oracle9://nothing")
    (tmp_path / "text").write_text("this is no database, and long enough to be read as none " * 20)
    with pytest.raises(MachineError, match="cannot be opened"):
        Store.open(tmp_path / "text")
    with pytest.raises(MachineError):
        Store.open("/proc/nothing/store.sqlite")


def test_a_store_that_breaks_does_not_stop_the_service(
    serving, pictures_run, store, digits_test, monkeypatch
):
    with serving(pictures_run, store=store) as client:

        def broken(*_):
            raise OperationalError("select", {}, Exception("secret"))

        monkeypatch.setattr(sa.engine.Engine, "begin", broken)
        monkeypatch.setattr(sa.engine.Engine, "connect", broken)
        x = npy(digits_test.pixels[:3])
        assert client.post("/v1/score", content=x, headers=NPY).status_code == 200
        until(lambda: store.lost == 3)
        assert client.post("/v1/score", content=x, headers=NPY).status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
        assert "anogen_store_lost " in client.get("/metrics").text
        for path in ("/v1/watch", "/v1/feedback", "/v1/feedback.csv"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (
                503, "the store cannot be used just now"
            )  # fmt: skip
        monkeypatch.undo()


def test_feedback(serving, pictures_run, store, digits_test, tmp_path):
    x = np.array(digits_test.pixels[:4])
    with serving(pictures_run, store=store) as client:
        results = client.post("/v1/score", content=npy(x), headers=NPY).json()["results"]
        until(lambda: len(store.scored()) == 4)
        ids = [each["id"] for each in results]
        first = client.post("/v1/feedback", json={"id": ids[0], "verdict": "bad", "note": "=1+1"})
        assert first.json()["kept"]["score"] == results[0]["score"]
        client.post("/v1/feedback", json={"id": ids[0], "verdict": "good"})
        picture = {"file": ("p.png", png(x[1, 0]))}
        form = client.post(f"/v1/feedback?id={ids[1]}&verdict=bad&note=%3D1", files=picture)
        assert form.status_code == 200
        told = client.get("/v1/feedback").json()
        labels = [results[0]["label"], results[1]["label"]]
        name = ["passed", "flagged"]
        assert told["counts"][f"{name[labels[0]]}_good"] == 1
        assert told["counts"][f"{name[labels[1]]}_bad"] == 1
        assert [v["item"] for v in told["verdicts"]] == [ids[1], ids[0]]
        table = list(csv.DictReader(client.get("/v1/feedback.csv").text.splitlines()))
        assert [row["verdict"] for row in table] == ["good", "bad"]
        assert table[1]["note"] == "'=1"  # which a spreadsheet would run
        assert float(table[0]["score"]) == results[0]["score"]
        wrong = [{"id": "none", "verdict": "good"}, {"id": ids[0], "verdict": "odd"}, {}, [],
                 {"id": ids[0], "verdict": "good", "note": "x" * 5000}]  # fmt: skip
        statuses = [client.post("/v1/feedback", json=body).status_code for body in wrong]
        odd = client.post("/v1/feedback", content=b'{"id": "\\ud800", "verdict": "good"}',
                          headers={"content-type": "application/json"})  # fmt: skip
        assert odd.status_code == 404
        assert statuses == [404, 400, 400, 400, 400]
        nothing = client.post(f"/v1/feedback?id={ids[1]}&verdict=bad", files={"file": b"nothing"})
        assert nothing.status_code == 422
    out = export_verdicts(store.url, tmp_path / "out", "digits")
    files = {row["file"]: row["verdict"] for row in csv.DictReader(out.read_text().splitlines())}
    assert files == {"": "good", f"bad/{ids[1]}.png": "bad"}
    assert (tmp_path / "out" / "bad" / f"{ids[1]}.png").read_bytes() == png(x[1, 0])


def test_a_later_verdict_keeps_the_picture_unless_it_brings_one(store):
    store._insert([scored(1)])
    item = store.scored()[0].item
    for verdict, picture, kept in (("bad", b"one", b"one"), ("good", None, b"one"),
                                   ("bad", b"two", b"two")):  # fmt: skip
        store.judge(item, verdict, "", picture)
        ((judged, content),) = store.pictures()
        assert (judged.verdict, content) == (verdict, kept)


def test_what_is_no_name_of_an_item_becomes_no_file(store, tmp_path):
    store._insert([scored(1, item="../../escaped")])
    assert store.judge("../../escaped", "good", "", b"x") is not None
    with pytest.raises(DataError, match="damaged"):
        export_verdicts(store.url, tmp_path / "a" / "b")
    assert list(tmp_path.glob("escaped*")) == []
    with pytest.raises(DataError, match="there is no store"):
        export_verdicts(tmp_path / "none.sqlite", tmp_path / "c")
    assert not (tmp_path / "none.sqlite").exists()


def test_without_a_store_nothing_is_kept(serving, pictures_run, digits_test):
    with serving(pictures_run) as client:
        told = client.post("/v1/score", content=npy(digits_test.pixels[:1]), headers=NPY).json()
        assert "id" not in told["results"][0]
        for path in ("/v1/watch", "/v1/feedback", "/v1/feedback.csv"):
            assert client.get(path).status_code == 404


@pytest.fixture
def watcher(store, pictures_run):
    detector = load(pictures_run).detector
    told = []
    models = {"digits": Watched("v1", detector, 0.05)}
    watcher = Watcher(store, models, 0.01, lambda *alarm: told.append(alarm))
    watcher.told = told
    return watcher


def stream(detector_scores: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(detector_scores, count)


def test_a_watcher_tells_what_changes_and_goes_on_where_it_was(store, watcher, pictures_run):
    usual = load(pictures_run).detector.calibration.scores
    rows = [scored(n, s) for n, s in enumerate(stream(usual, 600, 0))]
    store._insert(rows)
    watcher.look()
    assert watcher.told == []
    (kept,) = store.summaries()
    assert (kept["model"], kept["seen"], len(kept["alarms"])) == ("digits", 600, 0)
    again = Watcher(store, watcher.models, 0.01, watcher.alert)
    again.restore()
    worse = stream(usual, 400, 1) + 100 * np.ptp(usual)
    store._insert([scored(1000 + n, s, stream="") for n, s in enumerate(worse)])
    again.look()
    model, name, alarm = watcher.told[0]
    assert (model, name, alarm.kind) == ("digits", "", "martingale")
    assert 600 < alarm.at < 640
    assert store.summaries()[0]["seen"] == 1000
    whole = Watcher(store, watcher.models, 0.01, lambda *_: None)
    whole.look()
    assert store.summaries()[0]["alarms"][0]["at"] == alarm.at


def test_streams_and_versions_are_watched_apart(store, watcher, pictures_run):
    usual = load(pictures_run).detector.calibration.scores
    store._insert([
        scored(n, s, stream=f"camera {n % 2}", version="v0" if n < 100 else "v1")
        for n, s in enumerate(stream(usual, 300, 0))
    ])  # fmt: skip
    watcher.look()
    assert [(w["stream"], w["seen"]) for w in store.summaries()] == [
        ("camera 0", 100),
        ("camera 1", 100),
    ]
    store._insert([scored(1000 + n, stream=f"s{n}") for n in range(MOST_STREAMS + 50)])
    watcher.look()
    assert len(store.summaries()) == MOST_STREAMS


def test_a_watch_that_was_another_starts_anew(store, watcher, capsys):
    good = watcher._fresh(watcher.models["digits"])
    states = {"damaged": '{"level": 1}', "numbers": good.content().replace("eJ", "xx", 1),
              "level": replace(good, level=0.5).content(),
              "version": good.content(), "same": good.content()}  # fmt: skip
    store.save_watches([
        Kept("digits", name, "v0" if name == "version" else "v1", 7, state, {"alarms": []})
        for name, state in states.items()
    ])  # fmt: skip
    watcher.restore()
    assert [stream for _, stream in watcher._watches] == ["same"]
    assert capsys.readouterr().err.count("damaged and starts anew") == 2


def test_no_alarm_is_lost_where_the_store_or_its_receiver_breaks(
    store, watcher, pictures_run, capsys
):
    usual = load(pictures_run).detector.calibration.scores
    store._insert([scored(n, s) for n, s in enumerate(stream(usual, 100, 1) + 100 * np.ptp(usual))])
    keep, tell = store.save_watches, watcher.alert
    store.save_watches = None
    watcher._safely(watcher.look)
    assert watcher.told == []
    store.save_watches = keep
    watcher.alert = None
    watcher._safely(watcher.look)  # kept, but not told
    assert len(store.summaries()[0]["alarms"]) == 1
    watcher.alert = tell
    store._insert([scored(1000 + n, s) for n, s in enumerate(stream(usual, 700, 1) + 1e6)])
    watcher._safely(watcher.look)
    assert len(watcher.told) >= 1
    assert capsys.readouterr().err.count("the watch could not look") == 2


def test_alerts_go_to_a_file_and_to_an_address(tmp_path, capsys):
    alarm = Alarm("martingale", 7, 1.0, "something has changed")
    alerts_to(str(tmp_path / "alarms.jsonl"))("digits", "camera", alarm)
    told = json.loads((tmp_path / "alarms.jsonl").read_text())
    assert (told["model"], told["stream"], told["at"]) == ("digits", "camera", 7)
    got = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.handle_request).start()
    alerts_to(f"http://127.0.0.1:{server.server_port}/")("digits", "", alarm)
    server.server_close()
    assert got[0]["text"] == "something has changed"
    alerts_to("http://127.0.0.1:9/")("digits", "", alarm)
    assert "could not be told" in capsys.readouterr().err


def test_refresh_from_verdicts(serving, pictures_run, digits_test, tmp_path, anogen):
    import shutil

    run = tmp_path / "digits"
    shutil.copytree(pictures_run, run)
    store = Store.open(run / "service.sqlite")
    before = load(run).detector
    x = np.array(digits_test.pixels[:6])
    with serving(run, store=store) as client:
        ids = [each["id"] for each in
               client.post("/v1/score", content=npy(x), headers=NPY).json()["results"]]  # fmt: skip
        until(lambda: len(store.scored()) == 6)
        for place, item in enumerate(ids):
            verdict = "bad" if place == 5 else "good"
            client.post(f"/v1/feedback?id={item}&verdict={verdict}",
                        files={"file": ("p.png", png(x[place, 0]))})  # fmt: skip
    outcome = anogen("refresh", run, "--from", run / "service.sqlite")
    assert outcome.code == 0, outcome.err
    assert "5 new examples are approved, 5 in all" in outcome.err
    after = load(run).detector
    assert np.array_equal(approved(Run.open(run)).pixels[:], x[:5])
    assert len(after.calibration.scores) == len(before.calibration.scores) + 1
    assert after.calibration.sha256 != before.calibration.sha256
    assert anogen("refresh", run, "--from", run / "service.sqlite").code == 0
    assert len(approved(Run.open(run))) == 5
