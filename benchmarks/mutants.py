"""Do the tests notice mistakes? Each mutant is put into a copy of the source, and tests are run.

    python benchmarks/mutants.py --out docs/results/mutants.json
    python benchmarks/mutants.py --only stylegan --show

A mutant is a line of `mutants.json`: a file, a text that occurs once in it, what takes its place,
and what is wrong with that. It is killed where a test fails, and survives where all pass. The tests
are those of the file's own name, then those of its folder, then all others but the long ones, until
one fails. Without a mutant all must pass, or nothing would follow.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".json")
TIMEOUT_S = 900
SLOW = ("tests/report/test_browser.py", "tests/cli/test_streams.py", "tests/test_trust.py")
"""Tests of streams, pages and hostile files, which no mutant here is about."""
IGNORED = [f"--ignore={path}" for path in SLOW]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose file has this in its name")
    parser.add_argument("--show", action="store_true", help="print which test failed")
    parser.add_argument("--trust", action="store_true", help="leave out the run without a mutant")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    mutants = [m for m in json.loads(LIST.read_text("utf-8")) if options.only in m["file"]]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for path in tracked():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy / path)
        failed = "" if options.trust else run(["tests", *IGNORED], copy)
        if failed:
            raise SystemExit(f"without a mutant {failed} fails; mend that first")
        for mutant in mutants:
            killer = killed_by(mutant, copy)
            found.append(mutant | {"killed": bool(killer)})
            print(f"{'killed  ' if killer else 'SURVIVED'} {mutant['file']}: {mutant['why']}"
                  + (f"  [{killer}]" if options.show else ""), flush=True)  # fmt: skip
    killed = Counter(m["set"] for m in found if m["killed"])
    for kind, total in Counter(m["set"] for m in found).items():
        print(f"{kind}: {killed[kind]} of {total} killed")
    if options.out:
        kept = [{k: m[k] for k in ("set", "file", "why", "killed")} for m in found]
        options.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def tracked() -> list[str]:
    """Every file of the repository."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return [name for name in done.stdout.decode().split("\0") if name]


def killed_by(mutant: dict[str, str], copy: Path) -> str:
    """The first test that fails with a mutant in place; empty where none does."""
    path = copy / mutant["file"]
    original = path.read_text("utf-8")
    if original.count(mutant["before"]) != 1:
        raise SystemExit(f"{mutant['file']}: {mutant['before']!r} does not occur once in it")
    path.write_text(original.replace(mutant["before"], mutant["after"]), "utf-8")
    try:
        place = Path(mutant["file"])
        room = place.parts[2]
        own = sorted(
            str(path.relative_to(copy))
            for name in (place.stem, place.parent.name)
            for path in copy.glob(f"tests/{room}/test_{name}*.py")
        )
        folder = [f"tests/{room}"] if (copy / "tests" / room).is_dir() else []
        rest = ["tests", *IGNORED, *(f"--ignore={each}" for each in folder)]
        return run(own, copy) or run(folder, copy) or run(rest, copy)
    finally:
        path.write_text(original, "utf-8")


def run(tests: list[str], copy: Path) -> str:
    """The first test that fails, or that a crash or the time limit ended."""
    if not tests:
        return ""
    environment = os.environ | {
        "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-rfE",
        "-p",
        "no:cacheprovider",
    ]
    try:
        done = subprocess.run(
            [*command, *tests], cwd=copy, env=environment, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the time limit"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"exit code {done.returncode}"


if __name__ == "__main__":
    main()
