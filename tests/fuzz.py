"""Arguments, files and run folders made wrong at random: no traceback, no hang, a documented code.

    python tests/fuzz.py --cases 500 --seed 0

Each case is a command of the command line with one to three of its arguments changed, or a run
folder or an input file with bytes, types or links changed. It passes where the exit code is one of
0, 2, 3, 4 and 5, standard error holds no traceback, a failure ends in one line of the command's
own, and no more than ten seconds have passed. One that fails is printed with its number and seed.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

LIMIT_S = 10
CODES = {0, 2, 3, 4, 5}
VALUES = [
    "", " ", "-1", "0", "1e400", "nan", "null", "true", "[]", "{}", "[[[[", "1,2", "2.5", "٣",
    "../..", "/", "/dev/null", "/etc/passwd", "no/such/file", "x" * 300, "a\nb", "\x1b[2J", "--",
    "-", "=", "!!python/object:os.system", "*a", "&a", "%", "99999999999999999999", "1_000", "0x10",
    "auto", "cpu", "cuda", "cuda:9", "mnist+nothing", "digits+blur=x", "digits+blur", "os.system",
    "VAE", "vae", "float32", "bfloat16", "best", "last.previous", "../last", "\udcff", "日本",
]  # fmt: skip
COMMANDS = [
    ["train", "--data", "DATA", "--run", "NEW", "--epochs", "1", "--model.latent", "2",
     "--model.width", "4", "--batch_size", "16", "--learning_rate", "0.001", "--seed", "1",
     "--model.beta", "1.0", "--schedule", "cosine", "--precision", "float32"],
    ["train", "--run", "RUN", "--resume", "--epochs", "2"],
    ["train", "--config", "RUN/config.yaml", "--run", "NEW"],
    ["evaluate", "RUN", "--importance_samples", "1", "--samples", "12", "--sampler", "prior"],
    ["sample", "RUN", "--picture", "samples", "--seed", "1"],
    ["sample", "RUN", "--count", "3", "--out", "OUT.npy"],
    ["detect", "RUN", "--out", "DATA+inversion", "--fpr", "0.2", "--score", "squared_error"],
    ["score", "RUN", "DATA", "--fpr", "0.2", "--score", "squared_error", "--out", "OUT.csv"],
    ["score", "RUN", "PICTURES", "DATA", "--fpr", "0.2", "--score", "kl"],
    ["compare", "RUN", "--out", "OUT", "--samples", "12"],
    ["report", "RUN"],
    ["data", "DATA"],
    ["data", "PICTURES", "--json"],
    ["export", "RUN", "--score", "nothing", "--out", "OUT.onnx"],
]  # fmt: skip
"""Ordinary calls; the last is refused, because an export takes seconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        failures = fuzz(Path(folder), options.cases, options.seed)
    for failure in failures:
        print(failure)
    return len(failures)


def fuzz(folder: Path, cases: int, seed: int) -> list[str]:
    """What failed, a text for each case."""
    base = prepared(folder / "base")
    failures, codes = [], Counter[int]()
    for case in range(cases):
        rng = random.Random(f"{seed}-{case}")
        place = folder / "case"
        shutil.copytree(base, place, symlinks=True)
        try:
            what = spoil(place, rng)
            arguments = changed(rng.choice(COMMANDS), place, rng, often=not what)
            code, said, seconds = call(arguments, place)
            codes[code] += 1
            wrong = verdict(code, said, seconds)
            if wrong:
                shown = [a[:40] for a in arguments]
                failures.append(f"case {case}, seed {seed}: {wrong}\n  {what or 'arguments'}\n"
                                f"  anogen {shown}\n  {said[-700:]}")  # fmt: skip
        finally:
            unlock(place)
            shutil.rmtree(place, ignore_errors=True)
    counts = dict(sorted(codes.items()))
    print(f"{cases} cases, seed {seed}: {len(failures)} failed; exit codes {counts}")
    return failures


def prepared(base: Path) -> Path:
    """A run that was evaluated and used as a detector, its data, and pictures."""
    base.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savez(base / "data.npz", images=rng.integers(0, 256, (60, 16, 16), np.uint8),
             labels=np.arange(60) % 2)  # fmt: skip
    (base / "pictures" / "a").mkdir(parents=True)
    for index in range(12):
        picture = Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8))
        picture.save(base / "pictures" / "a" / f"{index}.{'png' if index % 2 else 'bmp'}")
    for command in (COMMANDS[0], COMMANDS[3], COMMANDS[6]):
        arguments = changed(command, base, None)
        if command is COMMANDS[0]:
            arguments[arguments.index(str(base / "new"))] = str(base / "run")
        code, said, _ = call(arguments, base)
        assert code == 0, said
    return base


def changed(
    command: list[str], place: Path, rng: random.Random | None, often: bool = True
) -> list[str]:
    """A command with its places filled in, and some of its values changed."""
    names = {"DATA": place / "data.npz", "PICTURES": place / "pictures", "NEW": place / "new",
             "RUN": place / "run", "OUT": place / "out"}  # fmt: skip
    arguments = list(command)
    for index, argument in enumerate(arguments):
        for name, path in names.items():
            if argument.startswith(name):
                arguments[index] = argument.replace(name, str(path), 1)
    if rng is not None:
        for _ in range(rng.randint(1, 3) if often else rng.randint(0, 1)):
            where = rng.randrange(1, len(arguments))
            kind = rng.random()
            if kind < 0.7:
                arguments[where] = rng.choice(VALUES)
            elif kind < 0.8 and len(arguments) > 2:
                del arguments[where]
            elif kind < 0.9:
                arguments.insert(where, rng.choice(VALUES))
            else:
                text = list(arguments[where])
                text.insert(rng.randint(0, len(text)), rng.choice(["x", "\0", "=", "é", " "]))
                arguments[where] = "".join(text)
    return arguments


def spoil(place: Path, rng: random.Random) -> str:
    """Change a file or a folder of a case; says which and how, or nothing where it changed none."""
    if rng.random() < 0.4:
        return ""
    paths = sorted(p for p in place.rglob("*") if "new" not in p.parts)
    path = rng.choice(paths)
    kind = rng.choice(["bytes", "cut", "empty", "json", "json", "remove", "link", "pipe", "folder",
                       "locked", "huge", "text"])  # fmt: skip
    content = path.read_bytes() if path.is_file() else b""
    if path.is_dir() or kind in ("remove", "link", "pipe", "folder"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if kind == "link":
            path.symlink_to(rng.choice(["/etc", "/nowhere", "..", str(path)]))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "text":
            path.write_text("a file in the place of a folder")
    elif kind == "bytes" and content:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 20)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
    elif kind == "cut":
        path.write_bytes(content[: rng.randint(0, len(content))])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "locked":
        path.chmod(0)
    elif kind == "huge":
        path.write_bytes(b"[" * 100_000)
    elif kind == "json":
        path.write_bytes(spoiled_json(content, rng))
    else:
        path.write_text(rng.choice(VALUES), "utf-8", "surrogatepass")
    return f"{kind}: {path.relative_to(place)}"


def spoiled_json(content: bytes, rng: random.Random) -> bytes:
    """A JSON file with one of its values replaced, or anything else where it is none."""
    try:
        value = json.loads(content)
    except ValueError:
        return json.dumps(rng.choice([None, 7, [], {}, "x"])).encode()
    holder, key = None, None
    inner = value
    for _ in range(rng.randint(1, 4)):
        if isinstance(inner, dict) and inner:
            holder, key = inner, rng.choice(sorted(inner))
        elif isinstance(inner, list) and inner:
            holder, key = inner, rng.randrange(len(inner))
        else:
            break
        inner = holder[key]
    new = rng.choice([None, -1, 1e300, "x", [], {}, True, "../../x", [[]], {"a": 1}])
    if holder is None or key is None:
        value = new
    else:
        holder[key] = new
    return json.dumps(value).encode()


def call(arguments: list[str], place: Path) -> tuple[int, str, float]:
    """Exit code, standard error and seconds of a command in this process."""
    from anogen.cli.main import main as anogen

    out, err = io.StringIO(), io.StringIO()
    before, start = Path.cwd(), time.monotonic()

    def late(*_: object) -> None:
        raise TimeoutError("more than ten seconds")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(3 * LIMIT_S)
    try:
        os.chdir(place)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = anogen(arguments)
    except SystemExit as leaving:  # --help
        code = int(leaving.code or 0)
    except BaseException as error:  # what reaches a shell as a traceback
        code = 99
        err.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        os.chdir(before)
    return code, err.getvalue(), time.monotonic() - start


def verdict(code: int, said: str, seconds: float) -> str:
    """What is wrong with an outcome, or nothing."""
    if code not in CODES:
        return f"exit code {code}"
    if "Traceback" in said:
        return "a traceback"
    if seconds > LIMIT_S:
        return f"{seconds:.0f} s"
    own = [line for line in said.splitlines() if line.startswith("anogen")]
    if code and len(own) != 1:
        return f"{len(own)} lines of its own"
    return ""


def unlock(place: Path) -> None:
    """Let everything be removed again."""
    for path in place.rglob("*"):
        with contextlib.suppress(OSError):
            if not path.is_symlink():
                path.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
