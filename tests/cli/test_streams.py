"""Streams, folders and files that are not as usual, as a shell's user meets them."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anogen import Run

pytestmark = pytest.mark.skipif(
    not Path("/dev/full").exists() or shutil.which("bash") is None,
    reason="needs bash and the devices of Linux",
)
ANOGEN = str(Path(sys.executable).with_name("anogen"))
ROOT = os.name == "posix" and os.geteuid() == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a trained run, its data, and a few pictures."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.integers(0, 256, (120, 16, 16), np.uint8))
    (folder / "p").mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(
            folder / "p" / f"{index}.png"
        )
    done = shell(folder, "anogen train --data x.npy --epochs 1 --model.latent 2 --model.width 4 "
                 "--run r && anogen score r p --fpr 0.1 > /dev/null")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in a folder; `anogen` is the one under test."""
    path = {"PATH": f"{Path(ANOGEN).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=os.environ | path | environment, capture_output=True,
        text=True, errors="surrogateescape", timeout=120, check=False,
    )  # fmt: skip


SCORE = "anogen score r p --fpr 0.1"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"{SCORE} > /dev/full", 5),
        (f"{SCORE} >&-", 5),
        (f"{SCORE} 2>&-", 0),
        (f"{SCORE} 2>/dev/full", 0),
        (f"{SCORE} | true", 0),
        (f"{SCORE} --out s.csv >&- 2>&-", 0),
        ("anogen --help > /dev/full", 5),
        ("anogen --help >&-", 0),
        ("anogen data > /dev/full", 5),
        ("anogen nonsense 2>&-", 2),
        ("anogen train --data x.npy --epochs 1 --model.latent 2 --model.width 4 --run q 2>&-", 0),
        ("anogen train --data x.npy --epochs 1 --model.latent 2 --model.width 4 --run f >/dev/full",
         5),
    ],
)  # fmt: skip
def test_streams_that_are_full_closed_or_gone(place, line, code):
    done = shell(place, f"set -o pipefail; {line}")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_streams_that_cannot_say_everything(place, encoding):
    for name in ("日本.png", "é.png", os.fsdecode(b"\xff.png")):
        Image.new("L", (16, 16)).save(place / "p" / "t.png")
        (place / "p" / "t.png").rename(place / "p" / name)
    try:
        done = shell(place, SCORE, PYTHONIOENCODING=encoding)
        again = shell(place, "anogen data 日本", PYTHONIOENCODING=encoding)
    finally:
        for name in ("日本.png", "é.png", os.fsdecode(b"\xff.png")):
            (place / "p" / name).unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".png") == 6
    assert "\\udcff.png" in done.stdout
    assert again.returncode == 2
    assert "Traceback" not in again.stderr


def test_a_standard_error_that_is_none(tmp_path):
    script = (
        "import sys; sys.stderr = None; sys.stdout = None\n"
        "import numpy as np, anogen\n"
        "rows = np.random.default_rng(0).normal(size=(60, 3))\n"
        "anogen.OutlierDetector(epochs=1, score_name='squared_error').fit(rows)\n"
        "data = anogen.split(anogen.images_from_array(np.zeros((40, 16, 16), np.uint8)))\n"
        "anogen.fit(anogen.VAE(data.shape, latent=2, width=4), data, 'run', epochs=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0


def test_a_working_folder_that_was_removed(tmp_path, place):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"rmdir {gone}; anogen"
    for command, code in (("--help", 0), ("data", 0), (f"score {place}/r {place}/p --fpr 0.1", 5),
                          ("train --data digits --limit 50 --run r", 5), ("evaluate r", 5),
                          ("doctor", 5)):  # fmt: skip
        gone.mkdir(exist_ok=True)
        done = shell(gone, f"{line} {command}")
        assert done.returncode == code, (command, done.stderr)
        assert "Traceback" not in done.stderr


def without_home(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "ANOGEN_DATA_DIR") if key in os.environ}
    return kept | {"OMP_NUM_THREADS": "1"} | more


STRANGER = [
    "setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--inh-caps",
    "+dac_read_search", "--ambient-caps", "+dac_read_search", "--bounding-set",
    "-all,+dac_read_search",
]  # fmt: skip
"""A user who is in no list of users, and may read everything but write nothing of others."""
stranger = pytest.mark.skipif(
    not ROOT or shutil.which("setpriv") is None,
    reason="needs root and setpriv, to become another user",
)


@stranger
def test_a_user_without_a_home_or_a_name(tmp_path):
    tmp_path.chmod(0o777)
    for command in (
        ["doctor"], ["data"],
        ["train", "--data", "digits", "--limit", "300", "--epochs", "1", "--model.latent", "2",
         "--run", "g"],
        ["evaluate", "g", "--importance_samples", "0", "--samples", "50"],
        ["data", "mnist", "--fetch"],
    ):  # fmt: skip
        done = subprocess.run(
            [*STRANGER, ANOGEN, *command], cwd=tmp_path, capture_output=True, text=True,
            check=False, env=without_home(MPLCONFIGDIR=str(tmp_path), ANOGEN_DATA_DIR=""),
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert done.returncode == (3 if "--fetch" in command else 0), done.stderr
        if command == ["doctor"]:
            assert "no home folder" in done.stdout


@stranger
def test_a_run_that_may_only_be_read(tmp_path, place):
    shell(place, "cp -r r ro && rm -rf ro/detector && chmod -R a+rX,a-w ro && chmod a+rX -R .")
    (tmp_path / "w").mkdir()
    (tmp_path / "w").chmod(0o777)
    run = str(place / "ro")
    for command in (
        ["score", run, str(place / "x.npy"), "--fpr", "0.1"],
        ["export", run, "--fpr", "0.1", "--out", "y.onnx"],
        ["evaluate", run, "--importance_samples", "0", "--samples", "0"],
        ["detect", run, "--out", f"{place}/x.npy+inversion", "--fpr", "0.1"],
    ):
        done = subprocess.run(
            [*STRANGER, ANOGEN, *command], cwd=tmp_path / "w", capture_output=True,
            text=True, env=without_home(HOME=str(tmp_path / "w")), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "not kept" in done.stderr or "checked against" in done.stderr
        assert "Traceback" not in done.stderr


def test_names_of_any_bytes_come_into_every_table(place, tmp_path, anogen):
    folder = tmp_path / "names"
    folder.mkdir()
    names = [b"\xff.png", b"=1+1.png", b"a\nb.png", b"\x1b[2J.png", "ü.png".encode(), b"x,y.png"]
    for name in names:
        Image.new("L", (16, 16), 9).save(folder / "t.png")
        (folder / "t.png").rename(folder / os.fsdecode(name))
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"s.{ending}"
        for _ in range(2):
            done = anogen("score", place / "r", folder, "--fpr", "0.1", "--out", out)
            assert done.code == 0, done.err
    exact = {json.loads(line)["file"] for line in (tmp_path / "s.jsonl").read_text().splitlines()}
    assert {os.fsencode(Path(name).name) for name in exact} == set(names)
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text("utf-8").splitlines()))
    assert [row["error"] for row in rows] == [""] * 6
    assert {Path(row["file"]).name for row in rows} >= {"\\udcff.png",
                                                        "a\\nb.png", "\\x1b[2J.png"}  # fmt: skip
    done = shell(folder, f"anogen score {place}/r *.png --fpr 0.1")
    assert done.returncode == 0, done.stderr
    assert "\n'=1+1.png," in done.stdout


def test_inputs_that_are_no_files(place, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "closed").mkdir()
    names = ["pipe.png", "pipe.npy", "folder.png", "absent.png", f"{'x' * 300}.png", "/dev/null",
             "/dev/zero", "x/y.npy", f"{place}/p/0.png"]  # fmt: skip
    done = shell(tmp_path, f"anogen score {place}/r --fpr 0.1 {' '.join(names)}")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [bool(row["error"]) for row in rows] == [True] * 8 + [False]
    assert "a pipe, a socket or a device" in rows[0]["error"]
    for empty in ("score r ''", "score '' p", "evaluate ''", "train --data '' --run q",
                  "train --data x.npy --run ''", "score r p --out ''"):  # fmt: skip
        done = shell(place, f"anogen {empty}")
        assert done.returncode == 2, (empty, done.stderr)
        assert "empty" in done.stderr or "expected a name" in done.stderr


def npy(header: bytes, body: bytes = b"\0" * 512) -> bytes:
    """A NumPy file with this header."""
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


ARRAYS = {
    "cut.npy": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 16, 16)}")[:40],
    "short.npy": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 16, 16)}"),
    "negative.npy": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 16, 16)}"),
    "absurd.npy": npy(
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 9999999, 99999)}"
    ),
    "huge.npy": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2**70, 16)}"),
    "zero.npy": npy(b"{'descr': '|V0', 'fortran_order': False, 'shape': (2, 16, 16)}"),
    "objects.npy": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 16, 16)}"),
    "text.npy": npy(b"{'descr': '<U4', 'fortran_order': False, 'shape': (2, 4, 4)}"),
    "nested.npy": npy(b"(" * 5000),
    "code.npy": npy(b"__import__('os').system('touch ran')"),
    "nothing.npy": b"",
    "nothing.npz": b"",
    "text.npz": b"PK\x03\x04 no archive",
    "big-idx3-ubyte": b"\x00\x00\x08\x03" + b"\xff" * 12 + b"\0" * 100,
    "odd-idx3-ubyte": b"\x00\x00\x0d\x03" + b"\0" * 112,
}


def test_damaged_arrays_cost_one_row_each(place, tmp_path, anogen):
    import zipfile

    for name, content in ARRAYS.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("images", b"a raw member")
    names = [*ARRAYS, "raw.npz"]
    done = shell(tmp_path, f"anogen score {place}/r --fpr 0.1 {' '.join(names)} {place}/p/0.png")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    twice = {"text.npy": 2}  # an array of two images, of no type that images have
    expected = [name for name in names for _ in range(twice.get(name, 1))]
    assert [Path(row["file"]).name for row in rows] == [*expected, "0.png"]
    assert all(row["error"] for row in rows[:-1])
    assert not rows[-1]["error"]
    assert not (tmp_path / "ran").exists()
    for name in names:  # as data to be learnt
        refused = anogen("train", "--data", tmp_path / name, "--run", tmp_path / "new")
        assert refused.code == 3, (name, refused.err)
        assert "Traceback" not in refused.err


def test_two_calls_on_one_output(place, tmp_path):
    from anogen.detection.rows import writing

    out = tmp_path / "s.csv"
    with writing(out):
        done = shell(place, f"{SCORE} --out {out}")
    assert done.returncode == 2
    assert "another process is writing it" in done.stderr
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(shell(place, f"{SCORE} --out {out}").returncode)
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {0, 2}
    assert 0 in codes
    assert len(out.read_text().splitlines()) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv"]


def test_memory_that_runs_out_while_scoring(place, monkeypatch, capsys):
    from anogen.cli.main import main
    from anogen.detection.view import View

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):

        def starved(self, error=error):
            raise error

        monkeypatch.setattr(View, "features", property(starved))
        arguments = ["score", str(place / "r"), str(place / "p"), "--fpr", "0.1"]
        assert main(arguments) == 4
        assert "out of memory" in capsys.readouterr().err


YAML = {
    "brackets": "a: " + "[" * 20_000,
    "braces": "{" * 20_000,
    "alias": "a: &x [1]\nb: *x\n",
    "object": "a: !!python/object/apply:os.system ['touch ran']\n",
    "unknown": "no_such_key: 1\n",
    "list": "- 1\n",
    "binary": "\x00\x01",
    "tabs": "\t: x",
    "no bool": "seed: !!bool maybe",
    "no int": "seed: !!int ''",
    "no float": "seed: !!float ''",
    "no time": "seed: !!timestamp x",
    "sexagesimal": "seed: " + "1:" * 400_000 + "1",
    "many entries": "seed: [" + "a," * 40_000 + "]",
    "many pluses": 'data: "digits' + "+" * 50_000 + '"',
}


@pytest.mark.parametrize("kind", YAML)
def test_configurations_that_are_none(anogen, place, tmp_path, kind):
    (tmp_path / "c.yaml").write_text(YAML[kind])
    outcome = anogen("train", "--config", tmp_path / "c.yaml", "--data", place / "x.npy", "--run",
                     tmp_path / "new")  # fmt: skip
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--image_size", 1_000_000], ["--image_size", 0], ["--learning_rate", "1e400"],
        ["--learning_rate", "nan"], ["--model.beta", "1e400"], ["--model.beta", "nan"],
        ["--epochs", "null"], ["--epochs", "1e400"], ["--epochs", 2.5], ["--batch_size", "[[[["],
        ["--model.latent", "[" * 20_000], ["--epochs", "[" * 20_000], ["--seed", -1],
        ["--seed", 2**64], ["--limit", 1], ["--model", ""], ["--data_dir", ""],
        ["--model.width", -4], ["--model.latent", 2.5], ["--background", "pink"], ["--bits", 99],
        ["--config", "/no/such.yaml"], ["--config", "/dev/null/x"], ["--mod", "VAE"],
        ["--patience", "x"], ["--warmup_steps", "1e9"], ["--monitor", "nothing"],
        ["--model.likelihood", "null"], ["--model.net", "null"], ["--model.activation", "null"],
        ["--model.latent", "99999999999999999999"], ["--model.width", "99999999999999999999"],
        ["--model.depth", "99999999999999999999"], ["--model.depth", 2**31], ["--seed", "!!int ''"],
        ["--model.latent", "!!timestamp x"],
    ],
    ids=lambda options: " ".join(map(str, options))[:30],
)  # fmt: skip
def test_settings_that_make_no_sense(anogen, place, tmp_path, options):
    outcome = anogen("train", "--data", place / "x.npy", "--run", tmp_path / "new", *options)
    assert outcome.code in (2, 3), outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("anogen ")]
    assert len(lines) == 1, outcome.err
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_of_a_lock(place):
    assert not (Run.open(place / "r").path / ".lock").exists()


def test_what_was_printed_before_an_error_is_not_lost(place, tmp_path):
    """Rows lie in a buffer when the error comes, unless Python is told to have none."""
    script = (
        "import sys; from anogen.cli import main as module\n"
        "from anogen.errors import MachineError\n"
        "def command(arguments):\n"
        "    sys.stdout.write('a row\\n'); raise MachineError('too late')\n"
        "module._find = lambda name: command\n"
        "sys.exit(module.main(['score']))\n"
    )
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run([sys.executable, "-c", script], stdout=out, stderr=subprocess.PIPE,
                              env=os.environ | {"PYTHONUNBUFFERED": ""}, check=False)  # fmt: skip
    assert done.returncode == 5
    assert (tmp_path / "out").read_text() == "a row\n"


def test_a_value_may_end_in_an_equals_sign(anogen, place, tmp_path):
    outcome = anogen("train", "--data", place / "x.npy", f"--run={tmp_path}/exp=", "--epochs", 1,
                     "--model.width", 4)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "exp=").is_dir()


def test_a_refused_rate_leaves_nothing_in_the_way(place, tmp_path):
    out = tmp_path / "s.csv"
    done = shell(place, f"anogen score r p --fpr 0.0001 --out {out}")
    assert done.returncode == 2
    assert "--fpr 0.0" in done.stderr
    rate = done.stderr.split("--fpr ")[1].split(")")[0]
    assert not list(tmp_path.iterdir())
    done = shell(place, f"anogen score r p --fpr {rate} --out {out}")
    assert done.returncode == 0, done.stderr
    refused = shell(place, "anogen score r p --fpr 0.0001")
    assert refused.stdout == ""


def test_help_that_nobody_can_read(place):
    for command in ("train --help", "train --model.help VAE", "--version"):
        done = shell(place, f"anogen {command} > /dev/full")
        assert done.returncode == 5, (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_an_image_size_of_nothing_is_refused(place):
    done = shell(place, "anogen score r p --fpr 0.1 --image_size 0")
    assert done.returncode == 2, done.stderr
