"""Training as a process that is stopped and killed."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anogen import Run

from .test_fit import assert_same_end, end_of


def command(data: Path, run: Path, *more: object) -> list[str]:
    options = ["train", "--data", data, "--run", run, "--model.width", 4, "--model.dropout", 0.1,
               "--epochs", 12, "--batch_size", 20, "--ema_decay", 0.9, *more]  # fmt: skip
    return [sys.executable, "-m", "anogen", *map(str, options)]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} did not come; exit code {process.wait()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_leave(noise_file, tmp_path, anogen, number, code):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert anogen(*command(noise_file, whole)[3:]).code == 0
    process = started(command(noise_file, cut))
    wait_for(process, "epoch 2/12")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.strip().splitlines()[-1].startswith("anogen train: stopped by a signal at step")
    assert "Traceback" not in err
    assert anogen(*command(noise_file, cut)[3:], "--resume").code == 0
    assert_same_end(Run.open(whole), Run.open(cut))


@pytest.mark.slow
def test_kills_change_nothing(noise_file, tmp_path):
    """SIGKILL at random moments; the last or the previous checkpoint always carries on."""
    seed = int(os.environ.get("ANOGEN_KILL_SEED", "0"))
    wanted = int(os.environ.get("ANOGEN_KILLS", "5"))
    rng = random.Random(seed)
    often = ("--checkpoint_every_s", 0.01, "--epochs", 24)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(noise_file, whole, *often), check=True, capture_output=True)
    kills = 0
    for attempt in range(4 * wanted):
        process = started(command(noise_file, cut, *often, *(["--resume"] if attempt else [])))
        if kills == wanted:
            process.communicate(timeout=120)
            break
        if attempt:
            wait_for(process, "going on")
        else:  # the moment when the folder comes into being
            while not cut.exists():
                time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.25) if attempt else 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == wanted
    assert process.returncode == 0
    assert_same_end(Run.open(whole), Run.open(cut))


def limited(arguments: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    """The command with files limited to so many bytes, as on a disk that is nearly full."""
    return subprocess.run(
        arguments, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


def test_a_full_disk_leaves_no_run_or_the_run_as_it_was(noise_file, tmp_path):
    path = tmp_path / "run"
    done = limited(command(noise_file, path), 5_000)
    assert done.returncode == 5
    assert "File too large" in done.stderr.strip().splitlines()[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["noise.npz"]
    subprocess.run(command(noise_file, path), check=True, capture_output=True)
    before = end_of(Run.open(path))
    done = limited([*command(noise_file, path), "--resume", "--epochs", "14"], 5_000)
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    after = end_of(Run.open(path))
    assert before[1] == after[1]
    assert not list(path.rglob("*.writing"))


def test_of_two_processes_with_one_name_one_wins(noise_file, tmp_path):
    processes = [started(command(noise_file, tmp_path / "run")) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=120)
    assert sorted(process.returncode for process in processes) == [0, 2]
    assert len(Run.open(tmp_path / "run").metrics) == 12
