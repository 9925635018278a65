"""How fast, how sound and how steady the service is: client and server on one machine.

    python benchmarks/serving.py runs/mnist --data_dir path/to/data --out docs/results/serving.json

Needs a trained run of 28×28 pictures, such as `anogen train --preset recommended --data mnist`
makes, and for the peers `pip install fastapi litserve`. Each question is kept as it is answered;
what is there already is left.

- `start`: seconds from the command to the first answer of the readiness probe.
- `equal`: 10,000 pictures in random batches and orders by 64 clients: scores that differ from those
  of `anogen score` in any bit.
- `batches`: pictures per second in requests of 64, over scoring in one process without HTTP.
- `single`: requests of one picture per second by 64 clients, beside the same detector in a plain
  FastAPI endpoint, and in LitServe with its batches.
- `latency`: milliseconds of one client's requests of one picture.
- `crowd`: 1,000 connections, a tenth of which send a byte a second, while 64 clients ask; then more
  than the queue takes.
- `stops`: SIGTERM under load, and new versions under load: requests without an answer.
- `hostile`: requests that no client means well with.
- `soak`: memory over a million requests.
- `watch`: false alarms of 1,000 streams of 100,000 pictures; pictures until 5 % of contamination is
  found.
"""

import argparse
import asyncio
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import anogen
from anogen.detection.calibration import Calibration
from anogen.detection.drift import example_statistics
from anogen.detection.watch import Watch, interval
from anogen.durable import replace_durably

CLIENTS = 64
NPY = "application/x-npy"
PROBE = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
Pixels = NDArray[np.uint8]

PLAIN = """
import sys, io, os
import numpy as np, torch, uvicorn, anogen
from fastapi import FastAPI, Request

torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(sys.argv[3])))
app = FastAPI()
detector = anogen.load(sys.argv[1]).detector if __name__ != "__main__" else None

@app.post("/v1/score")
async def score(request: Request):
    images = np.load(io.BytesIO(await request.body()))
    scores = detector.score(images)
    return {"scores": scores.tolist(), "p_values": detector.calibration.p_value(scores).tolist()}

@app.get("/v2/health/ready")
def ready():
    return {}

if __name__ == "__main__":
    workers = int(sys.argv[3])
    uvicorn.run("fastapi_endpoint:app", port=int(sys.argv[2]), log_level="error", workers=workers)
"""
LIT = """
import sys, io, os
import numpy as np, torch, litserve, anogen

class API(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(sys.argv[3])))
        self.detector = anogen.load(sys.argv[1]).detector
    def decode_request(self, request):
        return np.array(request["image"], np.uint8)
    def batch(self, inputs):
        return np.stack(inputs)
    def predict(self, x):
        scores = self.detector.score(x)
        return np.stack([scores, self.detector.calibration.p_value(scores)], 1)
    def unbatch(self, output):
        return list(output)
    def encode_response(self, output):
        return {"score": float(output[0]), "p_value": float(output[1])}

if __name__ == "__main__":
    workers = int(sys.argv[3])
    api = API(max_batch_size=64, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
"""
WARM_S = 5.0
"""Before anything is counted: every server is slower at first."""
WORKERS = 2
"""Processes of ours and of each peer."""


def npy(pixels: Pixels) -> bytes:
    """An array as the content of a `.npy` file."""
    content = io.BytesIO()
    np.save(content, pixels)
    return content.getvalue()


class Connection:
    """One HTTP connection, as thin as it can be, because it shares the cores with the service."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, kind: str = NPY) -> tuple[int, bytes]:
        """Status and body of an answer; 0 where the connection breaks before there is one."""
        head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode()  # fmt: skip
        return await self.send(head + body)

    async def send(self, content: bytes) -> tuple[int, bytes]:
        """The answer to bytes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        try:
            writer.write(content)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lower = head.lower()
            place = lower.find(b"content-length:")
            length = int(lower[place + 15 : lower.index(b"\r\n", place)]) if place >= 0 else 0
            body = await reader.readexactly(length) if length else b""
            if b"connection: close" in lower:
                self.close()
            return status, body
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@contextmanager
def running(
    command: Sequence[str], port: int, cwd: Path | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """A server's process while it is ready to answer."""
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen([*command], stdout=log, stderr=log, cwd=cwd)
    try:
        until = time.monotonic() + 60
        while not is_ready(port):
            if time.monotonic() > until or process.poll() is not None:
                log.seek(0)
                raise SystemExit(log.read().decode()[-2000:])
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        log.close()


def is_ready(port: int) -> bool:
    """Whether the readiness probe says so."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as own:
        own.sendall(
            b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        return b" 200 " in own.recv(200)
    return False


def serve(run: str, port: int, *more: str) -> list[str]:
    """The command that serves a run."""
    return [sys.executable, "-m", "anogen", "serve", run, "--port", str(port), *more]


async def together(count: int, work: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """The results of so many workers at once."""
    return await asyncio.gather(*(work(index) for index in range(count)))


def start(run: str) -> dict[str, Any]:
    seconds: list[float] = []
    for _ in range(5):
        port = free_port()
        begin = time.monotonic()
        with running(serve(run, port, "--store", "none"), port):
            seconds.append(time.monotonic() - begin)
    return {
        "median_s": round(statistics.median(seconds), 2),
        "all_s": [round(s, 2) for s in seconds],
    }


def equal(run: str, port: int, images: Pixels) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "images.npy"), Path(folder, "scores.jsonl")
        np.save(source, images)
        subprocess.run([sys.executable, "-m", "anogen", "score", run, str(source), "--out",
                        str(out)], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        expected = [json.loads(line) for line in out.read_text().splitlines()]
    generator = random.Random(0)
    order = list(range(len(images)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    while order:
        size = generator.choice([1, 1, 2, 3, 7, 16, 64, 100, 300])
        batches.append([order.pop() for _ in range(min(size, len(order)))])
    different = 0

    async def client(number: int) -> None:
        nonlocal different
        del number
        connection = Connection(port)
        while batches:
            rows = batches.pop()
            status, body = await connection.post("/v1/score", npy(images[rows]))
            assert status == 200, (status, body)
            for row, result in zip(rows, json.loads(body)["results"], strict=True):
                before = expected[row]
                different += any(
                    result[key] != before[key] for key in ("score", "p_value", "label")
                )
        connection.close()

    asyncio.run(together(CLIENTS, client))
    return {"pictures": len(images), "clients": CLIENTS, "different": different}


async def rate(port: int, body: bytes, clients: int, seconds: float, items: int,
               path: str = "/v1/score", kind: str = NPY) -> dict[str, Any]:  # fmt: skip
    """Items per second by so many clients, after some seconds of warming up."""
    statuses: Counter[Any] = Counter()
    begin = time.monotonic() + WARM_S
    end = begin + seconds
    waits: list[float] = []

    async def client(number: int) -> None:
        del number
        connection = Connection(port)
        while (sent := time.monotonic()) < end:
            status, _ = await connection.post(path, body, kind)
            now = time.monotonic()
            if begin <= now <= end:
                statuses[status] += 1
                waits.append(now - sent)
        connection.close()

    await together(clients, client)
    return {
        "per_second": round(items * statuses[200] / seconds, 1),
        "median_ms": round(1000 * float(np.median(waits)), 2),
        "p99_ms": round(1000 * float(np.quantile(waits, 0.99)), 2),
        "statuses": {str(k): v for k, v in statuses.items()},
    }


def batches(run: str, port: int, images: Pixels) -> dict[str, Any]:
    detector = anogen.load(run).detector
    few = images[:2000]
    detector.score(few)
    own: list[float] = []
    over: list[float] = []
    for _ in range(3):  # one after the other, so that the machine's moods concern both
        begin = time.monotonic()
        for _ in range(3):
            detector.score(few)
        own.append(3 * len(few) / (time.monotonic() - begin))
        found = asyncio.run(rate(port, npy(images[:64]), 4, 5, 64))
        over.append(found["per_second"])
    return {
        "in_process": round(statistics.median(own), 1),
        "http": round(statistics.median(over), 1),
        "ratio": round(statistics.median(h / o for h, o in zip(over, own, strict=True)), 3),
    }


def single(run: str, images: Pixels, folder: Path) -> dict[str, Any]:
    body = npy(images[:1])
    lists = json.dumps({"image": images[0].tolist()}).encode()
    found: dict[str, Any] = {}
    scripts = {"fastapi": (PLAIN, "/v1/score", body, NPY),
               "litserve": (LIT, "/predict", lists, "application/json")}  # fmt: skip
    for repetition in range(3):
        port = free_port()
        with running(serve(run, port, "--workers", str(WORKERS)), port):
            found.setdefault("anogen", []).append(asyncio.run(rate(port, body, CLIENTS, 6, 1)))
        for name, (script, path, content, kind) in scripts.items():
            file = folder / f"{name}_endpoint.py"
            file.write_text(script)
            port = free_port()
            command = [sys.executable, str(file), run, str(port), str(WORKERS)]
            probe = running if name == "fastapi" else running_lit
            try:
                with probe(command, port, folder):
                    result = asyncio.run(rate(port, content, CLIENTS, 6, 1, path, kind))
                    found.setdefault(name, []).append(result)
            except SystemExit as error:
                print(name, "does not run:", str(error)[-300:], file=sys.stderr)
        print("single", repetition, {k: v[-1]["per_second"] for k, v in found.items()}, flush=True)
    medians = {k: statistics.median(r["per_second"] for r in v) for k, v in found.items()}
    waits = {k: statistics.median(r["median_ms"] for r in v) for k, v in found.items()}
    return {
        "per_second": medians,
        "median_ms": waits,
        "ratio": {k: round(medians["anogen"] / v, 2) for k, v in medians.items() if k != "anogen"},
    }


@contextmanager
def running_lit(command: Sequence[str], port: int, cwd: Path) -> Generator[subprocess.Popen[bytes]]:
    """LitServe's process; its probe is at another address."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [*command], stdout=quiet, stderr=quiet, cwd=cwd, start_new_session=True
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as own:
                own.sendall(PROBE % b"/health")
                if b" 200 " in own.recv(200):
                    break
            if process.poll() is not None:
                raise SystemExit("it has ended")
            time.sleep(0.1)
        else:
            raise SystemExit("it is not ready")
        yield process
    finally:
        with suppress(ProcessLookupError):  # with all that it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def crowd(run: str, images: Pixels) -> dict[str, Any]:
    port = free_port()
    body = npy(images[:64])
    head = (f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NPY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()  # fmt: skip
    with running(serve(run, port, "--max_queue", "2000"), port) as process:
        before = memory_of(process.pid)

        async def act() -> dict[str, Any]:
            slow: list[asyncio.StreamWriter] = []
            for index in range(1000 - CLIENTS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                del reader
                if index % 10 == 0:
                    writer.write(head)
                    slow.append(writer)
                idle.append(writer)

            async def trickle() -> None:
                for place in range(20):
                    for writer in slow:
                        with suppress(OSError):
                            writer.write(body[place : place + 1])
                    await asyncio.sleep(0.5)

            dripping = asyncio.create_task(trickle())
            usual = await rate(port, npy(images[:1]), CLIENTS, 8, 1)
            over = await rate(port, body, 200, 8, 64)
            await dripping
            return {"usual": usual, "over_the_queue": over}

        idle: list[asyncio.StreamWriter] = []
        found = asyncio.run(act())
        found |= {"memory_before_mb": before, "memory_after_mb": memory_of(process.pid),
                  "alive": process.poll() is None and is_ready(port)}  # fmt: skip
    return found


def memory_of(process: int) -> float:
    """Megabytes of a process and of those that it has started that are no other's."""
    total = 0.0
    for pid in [process, *children(process)]:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += int(line.split()[1]) / 1024
    return round(total, 1)


def children(process: int) -> list[int]:
    """Numbers of the processes that a process has started."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *children(int(child))]
    return found


def stops(run: str, images: Pixels, times: int) -> dict[str, Any]:
    """What happens to requests when the service is told to stop, or gets a new version."""
    lost_by_stop = codes = refused = answered = 0
    for number in range(times):
        port = free_port()
        with running(serve(run, port, "--store", "none"), port) as process:
            result = asyncio.run(_stopped(port, images, process, number))
            answered, refused = answered + result[0], refused + result[1]
            lost_by_stop += result[2]
            codes += process.wait(60) != 0
    port = free_port()
    lost_by_reload = versions = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "run")
        subprocess.run(["cp", "-r", run, str(copy)], check=True)
        with running(serve(str(copy), port, "--store", "none"), port):
            stopped = threading.Event()
            statuses: Counter[Any] = Counter()
            load = threading.Thread(
                target=lambda: asyncio.run(_load(port, images, stopped, statuses))
            )
            load.start()
            manifest = next(copy.glob("detector/*/manifest.json"))
            seen = {_version(port)}
            for _ in range(times):
                content = manifest.read_bytes()
                manifest.with_suffix(".new").write_bytes(content + b" ")
                manifest.with_suffix(".new").replace(manifest)
                until = time.monotonic() + 60
                while (version := _version(port)) in seen and time.monotonic() < until:
                    time.sleep(0.1)
                seen.add(version)
            stopped.set()
            load.join()
            versions = len(seen) - 1
            lost_by_reload = sum(v for k, v in statuses.items() if k != 200)
            reloaded = statuses[200]
    return {"stops": times, "lost": lost_by_stop, "answered": answered,
            "refused_connections": refused, "bad_exit_codes": codes, "new_versions": versions,
            "lost_by_new_versions": lost_by_reload, "answered_meanwhile": reloaded}  # fmt: skip


async def _stopped(port: int, images: Pixels, process: subprocess.Popen[bytes], number: int
                   ) -> tuple[int, int, int]:  # fmt: skip
    """Requests answered, connections refused, and requests lost, around a SIGTERM."""
    answered = refused = lost = 0
    over = False
    bodies = [npy(images[:1]), npy(images[:16])]

    async def client(index: int) -> None:
        nonlocal answered, refused, lost
        connection = Connection(port)
        while not over:
            try:
                status, _ = await connection.post("/v1/score", bodies[index % 2])
            except ConnectionRefusedError:
                refused += 1
                return
            except OSError:
                lost += 1
                return
            answered += status == 200
            lost += status != 200

    async def stop() -> None:
        nonlocal over
        await asyncio.sleep(0.4 + 0.01 * number)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(2)
        over = True

    await asyncio.gather(stop(), together(CLIENTS, client))
    return answered, refused, lost


async def _load(
    port: int, images: Pixels, stopped: threading.Event, statuses: Counter[Any]
) -> None:
    body = npy(images[:4])

    async def client(number: int) -> None:
        del number
        connection = Connection(port)
        while not stopped.is_set():
            try:
                status, _ = await connection.post("/v1/score", body)
            except OSError:
                status = -1
            statuses[status] += 1
        connection.close()

    await together(16, client)


def _version(port: int) -> str:
    client = anogen.Client(f"http://127.0.0.1:{port}")
    return client.models[0]["version"]


def hostile(run: str, images: Pixels, count: int) -> dict[str, Any]:
    port = free_port()
    keys = Path(tempfile.mkdtemp(), "keys.txt")
    keys.write_text("a-key-of-more-than-16\n")
    statuses: Counter[Any] = Counter()
    with running(serve(run, port, "--key_file", str(keys)), port) as process:
        asyncio.run(rate(port, npy(images[:1]), 4, 2, 1))
        before = memory_of(process.pid)
        workers = children(process.pid)
        points: list[float] = []
        for _ in range(5):
            asyncio.run(_attack(port, images, count // 5, statuses))
            points.append(memory_of(process.pid))
        time.sleep(2)
        good = Connection(port)
        head = (f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NPY}\r\n"
                f"Authorization: Bearer a-key-of-more-than-16\r\nContent-Length: "
                f"{len(npy(images[:1]))}\r\n\r\n").encode()  # fmt: skip
        status, _ = asyncio.run(good.send(head + npy(images[:1])))
        return {
            "requests": count, "statuses": {str(k): v for k, v in sorted(statuses.items())},
            "memory_before_mb": before, "memory_mb": [*points, memory_of(process.pid)],
            "same_processes": workers == children(process.pid), "good_after": status,
        }  # fmt: skip


async def _attack(port: int, images: Pixels, count: int, statuses: Counter[Any]) -> None:
    from attacks import attacks  # beside this file

    async def client(index: int) -> None:
        generator = random.Random(index)
        for _ in range(count // CLIENTS):
            connection = Connection(port)
            try:
                content, waits = attacks(generator, images)
                status, _ = await asyncio.wait_for(connection.send(content), 0.5 if waits else 60)
            except TimeoutError:
                status = -2
            except (OSError, ValueError):
                status = -1
            connection.close()
            statuses[status] += 1

    await together(CLIENTS, client)


def soak(run: str, images: Pixels, count: int) -> dict[str, Any]:
    port = free_port()
    body = npy(images[:1])
    points: list[tuple[int, float]] = []
    with running(serve(run, port, "--keep_rows", "20000"), port) as process:
        done = 0

        async def act() -> None:
            nonlocal done

            async def client(number: int) -> None:
                nonlocal done
                del number
                connection = Connection(port)
                while done < count:
                    status, _ = await connection.post("/v1/score", body)
                    assert status == 200
                    done += 1
                    if done % (count // 20) == 0:
                        points.append((done, memory_of(process.pid)))
                        print("soak", points[-1], flush=True)
                connection.close()

            await together(CLIENTS, client)

        begin = time.monotonic()
        asyncio.run(act())
        seconds = time.monotonic() - begin
    warm = [megabytes for number, megabytes in points if number >= count // 5]
    return {"requests": count, "per_second": round(count / seconds), "memory_mb": points,
            "growth": round(warm[-1] / warm[0] - 1, 4)}  # fmt: skip


def watch(run: str, images: Pixels, outside: Pixels, streams: int) -> dict[str, Any]:
    """Streams are drawn with replacement from scores of test pictures, the calibration too.

    So all are exchangeable, and an alarm is a false one. Statistics are those of the pictures.
    """
    detector = anogen.load(run).detector
    pool, bad = detector.score(images), detector.score(outside[:2000])
    seen = example_statistics(anogen.images_from_array(images))
    alarmed = early = 0
    delays: list[float] = []
    for seed in range(streams):
        generator = np.random.default_rng(seed)
        drawn = generator.integers(len(pool), size=1000)
        fresh = Watch.of(Calibration.of(pool[drawn]),
                         {name: values[drawn] for name, values in seen.items()})  # fmt: skip
        rows = generator.integers(len(pool), size=100_000)
        calm = fresh.after(pool[rows], {name: values[rows] for name, values in seen.items()})
        alarmed += bool(calm.alarms)
        stream = generator.choice(pool, 10_000)
        late = np.flatnonzero(generator.random(5000) < 0.05) + 5000
        stream[late] = generator.choice(bad, len(late))
        at = [alarm.at - 5000 for alarm in fresh.after(stream).alarms]
        early += any(place <= 0 for place in at)
        delays.append(min((place for place in at if place > 0), default=float("inf")))
        if seed % 20 == 0:
            print("watch", seed, alarmed, delays[-1], flush=True)
    return {"streams": streams, "length": 100_000, "level": 0.01, "alarmed": alarmed,
            "interval": [round(end, 5) for end in interval(alarmed, streams)],
            "contamination": 0.05, "from": 5000, "too_early": early,
            "median_delay": float(np.median(delays)),
            "delay_90": float(np.quantile(delays, 0.9))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--data_dir")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="one question")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--attacks", type=int, default=100_000)
    parser.add_argument("--soak", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=1000)
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    inside = np.array(anogen.load_data("mnist", data_dir=options.data_dir).test.pixels[:])
    outside = np.array(anogen.load_data("fashion-mnist", data_dir=options.data_dir).test.pixels[:])
    images = np.concatenate([inside[:9000], outside[:1000]])
    run = options.run

    def served(function: Callable[[str, int, Pixels], dict[str, Any]]) -> dict[str, Any]:
        port = free_port()
        with running(serve(run, port), port):
            return function(run, port, images)

    with tempfile.TemporaryDirectory() as folder:
        questions: dict[str, Callable[[], dict[str, Any]]] = {
            "start": lambda: start(run),
            "equal": lambda: served(equal),
            "batches": lambda: served(batches),
            "single": lambda: single(run, images, Path(folder)),
            "latency": lambda: served(
                lambda _, port, x: asyncio.run(rate(port, npy(x[:1]), 1, 10, 1))
            ),
            "crowd": lambda: crowd(run, images),
            "stops": lambda: stops(run, images, options.times),
            "hostile": lambda: hostile(run, images, options.attacks),
            "watch": lambda: watch(run, inside, outside, options.streams),
            "soak": lambda: soak(run, images, options.soak),
        }
        for name, ask in questions.items():
            if name in kept or options.only not in (None, name):
                continue
            kept[name] = ask()
            kept["machine"] = {"cores": len(os.sched_getaffinity(0)), "model": _processor()}
            replace_durably(options.out, (json.dumps(kept, indent=1) + "\n").encode())
            print(name, json.dumps(kept[name]), flush=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


if __name__ == "__main__":
    main()
