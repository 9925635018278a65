"""How long a command takes before it does anything, beside Python doing nothing, in turn.

python benchmarks/startup.py --out docs/results/startup.json
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from race import keep, machine, race, run_alone

NOTHING = "python -c pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    command = str(Path(sys.executable).with_name("anogen"))
    commands = {
        NOTHING: [sys.executable, "-c", "pass"],
        "anogen --help": [command, "--help"],
        "anogen data": [command, "data"],
        "anogen train --help": [command, "train", "--help"],
    }
    seconds = race({name: timed(call) for name, call in commands.items()}, options.repetitions)
    for name, found in seconds.items():
        over = statistics.median(a - b for a, b in zip(found, seconds[NOTHING], strict=True))
        print(f"{name:<22} {statistics.median(found):.3f} s, {over:+.3f} s over {NOTHING}")
    keep(machine() | {"seconds": seconds}, options.out)


def timed(words: list[str]) -> Callable[[], float]:
    """What gives the seconds of a command."""
    return lambda: run_alone(words)[0]


if __name__ == "__main__":
    main()
