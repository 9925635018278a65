"""The whole service, as processes: started, stopped, replaced, and asked by its clients."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas
import pytest

from anogen import Client, Detector, Run, load
from anogen.errors import DataError, MachineError, UsageError
from anogen.serving.store import Store

from ..conftest import one_line
from .conftest import npy, png

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")


class Service:
    """A process of `anogen serve`, and a client of it."""

    def __init__(self, process, log) -> None:
        self.process, self._log = process, log
        self.url = ""

    def start(self):
        end = time.monotonic() + 90
        while not (found := re.search(r"http://\S+", self.log)):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)
        self.url = found[0]
        self.client = Client(self.url)
        return self

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in children.read_text().split()]

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.05)


@pytest.fixture
def served(tmp_path):
    @contextmanager
    def serve(*arguments, port=0):
        log = tmp_path / f"log-{time.monotonic_ns()}"
        command = [
            sys.executable,
            "-m",
            "anogen",
            "serve",
            *map(str, arguments),
            "--port",
            str(port),
        ]
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            yield Service(process, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()

    return serve


@pytest.fixture
def own_run(pictures_run, tmp_path):
    run = tmp_path / "own"
    shutil.copytree(pictures_run, run)
    return run


def test_clients_get_the_detector_s_scores(served, own_run, digits_test, tmp_path):
    x = np.array(digits_test.pixels[:9])
    expected = load(own_run).detector.score(x)
    with served(own_run, "--workers", 2) as service:
        client = service.start().client
        assert client.ready
        assert client.models[0]["name"] == "own"
        assert np.array_equal(client.score(x), expected)
        paths = [tmp_path / f"{i}.png" for i in range(3)]
        for path, image in zip(paths, x, strict=False):
            path.write_bytes(png(image[0]))
        assert np.array_equal(client.score(paths), expected[:3])
        paths[1].write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"1\.png"):
            client.score(paths)
        (told,) = client.results(x[:1], explain=True, nearest=1, fpr=0.1)
        assert {"map", "nearest", "id"} <= set(told)
        assert client.sample(5).shape == (5, 1, 28, 28)
        drawn = client.sample(latents=np.zeros((2, 2)))
        assert np.array_equal(drawn[0], drawn[1])
        assert client.judge(told["id"], "bad", picture=paths[0])["kept"]["verdict"] == "bad"
        service.until(lambda: client.watches and client.watches[0]["seen"] >= 14)
        with pytest.raises(UsageError, match="cannot support"):
            client.results(x, fpr=1e-6)
        with pytest.raises(UsageError, match="unknown model"):
            Client(service.url, model="other").score(x)
        _triton(service.port, x, expected)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    with pytest.raises(MachineError, match="does not answer"):
        client.score(x)
    store = Store.open(own_run / "service.sqlite")
    assert store.summaries()[0]["seen"] >= 14
    assert len(store.verdicts()) == 1
    store.stop()


def _triton(port, x, expected):
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("own")
    assert client.get_model_metadata("own")["inputs"][0]["shape"] == [-1, 1, 28, 28]
    for binary in (True, False):
        tensor = http.InferInput("input", list(x.shape), "UINT8")
        tensor.set_data_from_numpy(x, binary_data=binary)
        outputs = [http.InferRequestedOutput("score", binary_data=binary)]
        for wanted in (None, outputs):
            found = client.infer("own", [tensor], outputs=wanted, request_id="7")
            assert np.array_equal(found.as_numpy("score"), expected)
    client.close()


def test_rows_from_python(served, table_run, rows):
    with served(table_run, "--store", "none", "--workers", 1) as service:
        client = service.start().client
        expected = load(table_run).detector.score(rows.head(4))
        assert np.array_equal(client.score(rows.head(4)), expected)
        listed = json.loads(rows.head(4).to_json(orient="records", date_format="iso"))
        assert np.array_equal(client.score(listed), expected)
        with pytest.raises(DataError, match="'when' is missing"):
            client.score([{"amount": 1, "country": "FR"}])
        with pytest.raises(DataError, match=r"^rows: the file is empty$"):
            client.score(pandas.DataFrame())


class Load(threading.Thread):
    """A client that asks until it is stopped, and never asks twice for the same."""

    def __init__(self, url, x) -> None:
        super().__init__()
        self.port, self.body = int(url.rpartition(":")[2]), npy(x)
        self.stopped, self.answers, self.errors = threading.Event(), 0, []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stopped.is_set():
            try:
                connection.request("POST", "/v1/score", self.body)
                answer = connection.getresponse()
                answer.read()
                self.answers += answer.status == 200
                if answer.status != 200:
                    self.errors.append(answer.status)
            except ConnectionRefusedError:  # not accepted, so not lost
                break
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
                connection.close()
        connection.close()


def test_a_stop_under_load_loses_nothing(served, own_run, digits_test):
    with served(own_run) as service:
        url = service.start().url
        threads = [Load(url, np.array(digits_test.pixels[:3])) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        service.process.send_signal(signal.SIGTERM)
        code = service.process.wait(60)
        for thread in threads:
            thread.stopped.set()
            thread.join()
    assert code == 0
    assert [thread.errors for thread in threads] == [[]] * 8
    assert sum(thread.answers for thread in threads) > 20


def test_a_new_version_is_served_without_losing_a_request(served, own_run, digits_test):
    x = np.array(digits_test.pixels[:3])
    with served(own_run) as service:
        client = service.start().client
        before, old = client.models[0]["version"], client.score(x)
        threads = [Load(service.url, x) for _ in range(4)]
        for thread in threads:
            thread.start()
        data = Run.open(own_run).load_data()
        fewer = Detector.fit(load(own_run).model, data.limited(600))
        fewer.save(own_run / "detector" / "fused")
        service.until(lambda: client.models[0]["version"] != before)
        service.until(lambda: not np.array_equal(client.score(x), old))
        assert np.array_equal(client.score(x), load(own_run).detector.score(x))
        new = client.score(x)
        (own_run / "detector" / "fused" / "manifest.json").write_text("damaged")
        service.until(lambda: "the new version has no detector" in service.log)
        assert client.ready
        for thread in threads:
            thread.stopped.set()
            thread.join()
        assert np.array_equal(client.score(x), new)
    assert [thread.errors for thread in threads] == [[]] * 4


def test_a_worker_that_dies_is_replaced(served, own_run, digits_test):
    with served(own_run, "--store", "none", "--workers", 1) as service:
        client = service.start().client
        (before,) = service.workers
        os.kill(before, signal.SIGKILL)
        service.until(lambda: "another one is started" in service.log)
        service.until(lambda: service.workers not in ([before], []))
        assert client.score(np.array(digits_test.pixels[:1])).shape == (1,)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


def test_workers_end_with_their_supervisor(served, own_run):
    with served(own_run, "--workers", 1) as service:
        port = service.start().port
        processes = service.workers
        service.process.kill()
        service.process.wait()
        service.until(lambda: not any(Path(f"/proc/{each}").exists() for each in processes))
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_signal_to_read_again(served, own_run, digits_test):
    with served(own_run, "--store", "none", "--workers", 1) as service:
        client = service.start().client
        (before,) = service.workers
        service.process.send_signal(signal.SIGHUP)
        service.until(lambda: "a new version is served" in service.log)
        assert client.score(np.array(digits_test.pixels[:1])).shape == (1,)
        service.until(lambda: before not in service.workers)


def test_slow_and_silly_connections_are_cut_off(served, own_run):
    with served(own_run, "--store", "none", "--body_s", 1, "--workers", 1) as service:
        address = ("127.0.0.1", service.start().port)
        head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        with socket.create_connection(address, 20) as slow:
            slow.sendall(head + b"abc")
            with socket.create_connection(address, 20) as flood, suppress(ConnectionError):
                flood.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
                assert b" 400 " in flood.recv(4096)
            assert b" 408 " in slow.recv(4096)
        chunked = head.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked")
        with socket.create_connection(address, 20) as trailers:
            trailers.sendall(chunked + b"1\r\nx\r\n0\r\n")
            with pytest.raises(ConnectionError):
                trailers.sendall(b"X: y\r\n" * 1_000_000)
        body = npy(np.zeros((60, 28, 28), np.uint8))
        post = head.replace(b": 9", f": {len(body)}".encode())
        with socket.create_connection(address, 20) as pipelined:
            pipelined.sendall(post + body + b"GET /v2/health/live HTTP/1.1\r\nHo")
            time.sleep(0.3)
            pipelined.sendall(b"st: localhost\r\nConnection: close\r\n\r\n")
            answers = b"".join(iter(lambda: pipelined.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 200") == 2
        assert service.client.ready


def test_a_detector_is_made_first_where_there_is_none(served, own_run):
    shutil.rmtree(own_run / "detector")
    with served(own_run, "--store", "none") as service:
        service.start()
        assert (own_run / "detector" / "fused").is_dir()
        assert "calibrating fused" in service.log


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["nothing"], 2, "there is no run"),
    (["{run}", "--host", "0.0.0.0"], 2, "without a key"),
    (["{run}", "--host", "256.1.1.1"], 2, "without a key"),
    (["{run}", "--host", "256.1.1.1", "--open"], 5, "cannot be listened on"),
    (["{run}", "{run}"], 2, "two runs are called"),
    (["{run}", "--score", "fusd"], 2, "did you mean 'fused'"),
    (["{run}", "--max_items", "0"], 2, "max_items must be above 0"),
    (["{run}", "--fpr", "0.000001"], 2, "cannot support"),
    (["{run}", "--key_file", "nothing"], 5, "missing"),
    (["{run}", "--workers", "0"], 2, "at least 1"),
    (["{run}", "--store", "oracle9://x"], 2, "no database"),
    (["{run}", "--port", "70000"], 2, "between 0 and 65535"),
])  # fmt: skip
def test_what_cannot_be_served_is_one_line(anogen, pictures_run, arguments, code, message):
    arguments = [argument.format(run=pictures_run) for argument in arguments]
    port = [] if "--port" in arguments else ["--port", "0"]
    outcome = anogen("serve", *arguments, *port)
    assert outcome.code == code, outcome.err
    assert one_line(outcome)
    assert message in outcome.err


def test_a_port_that_is_taken(anogen, pictures_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = anogen("serve", pictures_run, "--port", taken.getsockname()[1])
    assert outcome.code == 5
    assert "cannot be listened on" in outcome.err


def test_a_configuration_file(served, own_run, tmp_path, digits_test):
    config = tmp_path / "serve.yaml"
    config.write_text("max_items: 2\nworkers: 1\nstore: none\n")
    with served(own_run, "--config", config) as service:
        service.start()
        with pytest.raises(UsageError, match="more than 2 items"):
            service.client.score(np.array(digits_test.pixels[:3]))
        assert len(service.workers) == 1
