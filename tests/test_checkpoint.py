import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anogen import checkpoint, durable
from anogen.checkpoint import load_checkpoint, previous_of, save_checkpoint
from anogen.errors import MachineError

TENSORS = {"weights": {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}}
STATE = {"step": 5, "value": 0.1}


@pytest.fixture
def saved(tmp_path) -> Path:
    save_checkpoint(tmp_path / "last", TENSORS, STATE)
    return tmp_path / "last"


def test_what_is_saved_comes_back(saved):
    tensors, state = load_checkpoint(saved)
    assert state == STATE
    assert all(torch.equal(tensors["weights"][k], v) for k, v in TENSORS["weights"].items())


def test_the_one_before_stays_as_previous(saved):
    save_checkpoint(saved, TENSORS, {"step": 6})
    assert load_checkpoint(saved)[1] == {"step": 6}
    assert load_checkpoint(previous_of(saved))[1] == STATE
    save_checkpoint(saved, TENSORS, {"step": 7})
    assert load_checkpoint(previous_of(saved))[1] == {"step": 6}


def test_writers_do_not_disturb_one_another(tmp_path):
    path = tmp_path / "page.json"
    write = (
        "import sys; from pathlib import Path; from anogen.durable import replace_durably\n"
        "for _ in range(300): replace_durably(Path(sys.argv[1]), sys.argv[2].encode() * 50_000)"
    )
    command = [sys.executable, "-c", write, str(path)]
    writers = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert all(writer.communicate()[1] == b"" for writer in writers)
    assert seen <= {b"a" * 50_000, b"b" * 50_000}
    assert [left.name for left in tmp_path.iterdir()] == ["page.json"]


def test_what_dead_writers_left_is_removed(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    host = durable._host()
    left = tmp_path / f".page.json.{host}-{dead}-0f.writing"
    alive = tmp_path / f".page.json.{host}-{os.getpid()}-0f.writing"
    elsewhere = tmp_path / f".page.json.other{host}-{dead}-0f.writing"
    for path in (left, alive, elsewhere):
        path.write_text("half")
    durable.replace_durably(tmp_path / "page.json", b"{}")
    assert not left.exists()
    assert alive.exists()
    assert elsewhere.exists()  # nobody here can tell whether its writer still runs


def test_stray_files_in_a_checkpoint_are_passed_over(saved):
    for name in (".DS_Store", ".nfs0000000001", "notes.txt"):
        (saved / name).write_text("stray")
    tensors, _ = load_checkpoint(saved)
    assert set(tensors) == {"weights"}


def test_a_reader_sees_the_old_or_the_new_checkpoint_while_one_is_saved(tmp_path):
    """One thread saves without a pause; every read gives a whole checkpoint."""
    folder, stop = tmp_path / "last", threading.Event()

    def save_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            named = {"value": torch.full((1000,), float(number))}
            checkpoint.save_checkpoint(folder, {"weights": named}, {"number": number})

    writer = threading.Thread(target=save_on)
    writer.start()
    try:
        while not folder.exists():
            time.sleep(0.001)
        for _ in range(150):
            tensors, state = load_checkpoint(folder)
            assert tensors["weights"]["value"].unique().item() == state["number"]
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "manifest.json"])
def test_a_link_within_a_checkpoint_is_refused(saved, tmp_path, name):
    (tmp_path / "elsewhere").write_bytes((saved / name).read_bytes())
    (saved / name).unlink()
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="is a link"):
        load_checkpoint(saved)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(saved, data):
    path = saved / data.draw(
        st.sampled_from(["weights.safetensors", "state.json", "manifest.json"])
    )
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        tensors, state = load_checkpoint(saved)
    except MachineError:
        return
    finally:
        path.write_bytes(whole)
    assert path.name == "manifest.json"  # a space that became another space
    assert state == STATE
    assert torch.equal(tensors["weights"]["a"], TENSORS["weights"]["a"])


def test_cut_missing_and_foreign_files_are_named(saved, tmp_path):
    weights = saved / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(MachineError, match="bytes expected"):
        load_checkpoint(saved)
    weights.unlink()
    with pytest.raises(MachineError, match="does not name the files beside it"):
        load_checkpoint(saved)
    (saved / "manifest.json").write_text("[")
    with pytest.raises(MachineError, match=r"manifest.json: missing or damaged"):
        load_checkpoint(saved)
    with pytest.raises(MachineError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "absent")


def forge(saved: Path, content: bytes) -> None:
    """Put content in the place of the weights, with a manifest that agrees."""
    (saved / "weights.safetensors").write_bytes(content)
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["weights.safetensors"] = checkpoint._fingerprint(content)
    (saved / "manifest.json").write_text(json.dumps(manifest))


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("zipped", [False, True], ids=["pickle", "torch.save"])
def test_a_pickle_in_their_place_is_refused_unopened(saved, tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    if zipped:
        torch.save(Bomb(), tmp_path / "bomb.pt")
    content = (tmp_path / "bomb.pt").read_bytes() if zipped else pickle.dumps(Bomb())
    forge(saved, content)
    with pytest.raises(MachineError, match="not a safetensors file"):
        load_checkpoint(saved)
    assert not (tmp_path / "exploded").exists()


def test_a_huge_header_is_refused_before_parsing(saved, monkeypatch):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"tensor{i}": entry for i in range(100_000)}).encode()
    forge(saved, struct.pack("<Q", len(header)) + header)
    monkeypatch.setattr("safetensors.torch.load", lambda _: pytest.fail("was parsed"))
    with pytest.raises(MachineError, match="header is too large"):
        load_checkpoint(saved)


def test_a_full_disk_leaves_the_old_one(saved):
    script = f"""
import resource, torch
from pathlib import Path
from anogen.checkpoint import save_checkpoint
from anogen.errors import MachineError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(Path({str(saved)!r}), {{"weights": {{"a": torch.zeros(100_000)}}}}, {{}})
except MachineError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert f"{saved}: cannot save the checkpoint (File too large; 400," in done.stdout
    assert load_checkpoint(saved)[1] == STATE
    assert [path.name for path in saved.parent.iterdir()] == ["last"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("moment", range(12))
def test_a_crash_at_any_moment_leaves_one_that_loads(saved, monkeypatch, moment):
    """Every file-system call in turn is the last one that happens."""
    calls = iter(range(1000))

    class Crash(BaseException):
        pass

    def dying(function):
        def call(*arguments, **options):
            if next(calls) == moment:
                raise Crash
            return function(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (Path, "open")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    crashed = False
    try:
        save_checkpoint(saved, TENSORS, {"step": 6})
    except Crash:
        crashed = True
    monkeypatch.undo()
    found = saved if saved.exists() else previous_of(saved)
    assert load_checkpoint(found)[1] in ((STATE, {"step": 6}) if crashed else ({"step": 6},))
    save_checkpoint(saved, TENSORS, {"step": 8})
    assert load_checkpoint(saved)[1] == {"step": 8}
