"""Training on a machine that others use: images per second, alone and beside busy processes.

    python benchmarks/busy.py --out docs/results/busy.json

A VAE as it comes, on digits, trained by `anogen train` in a process of its own that nobody has told
how many threads to take; beside as many processes that do nothing but count as there are cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from race import keep, machine, median_ratio, race, show

ALONE, BUSY, ALL = "alone", "beside busy processes", "beside busy processes, threads as on idle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cores = os.cpu_count() or 1

    def busy(*settings: str) -> float:
        with counting(cores):
            return rate(*settings)

    rates = race(
        {ALONE: rate, BUSY: busy, ALL: lambda: busy("--threads", str(cores))}, options.repetitions
    )
    show("images per second", rates, ALONE)
    ratios = {f"{who} / {ALONE}": median_ratio(rates[who], rates[ALONE]) for who in (BUSY, ALL)}
    keep(machine() | {"others": cores, "images_per_s": rates} | ratios, options.out)


def rate(*settings: str) -> float:
    """Images per second of the last of four epochs."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "anogen", "train", "--data", "digits", "--epochs", "4"]
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        subprocess.run([*command, "--run", str(run), *settings], check=True, env=environment,
                       capture_output=True)  # fmt: skip
        lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return float(json.loads(lines[-1])["images_per_s"])


@contextmanager
def counting(number: int) -> Generator[None]:
    """So many processes that keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
