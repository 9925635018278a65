"""What an installed package must be able to do, away from any source; run by `make package`."""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import anogen

COMMANDS = (
    "doctor",
    "data",
    "train --preset demo --data digits --limit 200 --epochs 1 --run r",
    "evaluate r --importance_samples 0 --samples 50",
    "detect r --out digits+inversion --fpr 0.1",
    "score r digits.npy --fpr 0.1 --out scores.csv",
    "report r",
    "compare r --samples 50",
    "sample r --count 5 --out new.npy",
    "train --model VAEGAN --preset recommended --data digits --limit 50 --epochs 1 --run g",
)


def main() -> None:
    home = Path(anogen.__file__).parent
    assert "site-packages" in home.parts, f"{home}: not the installed package"
    for inside in ("py.typed", "nets/fused.cpp", "report/page.html.j2", "presets/VAE/paper.yaml"):
        assert (home / inside).is_file(), f"{inside} is not in the package"
    licence = [str(p) for p in importlib.metadata.files("anogen") or () if "LICENSE" in str(p)]
    assert licence, "the licence is not in the package"
    assert importlib.metadata.version("anogen") == anogen.__version__
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder, "MPLCONFIGDIR": folder}
        images = anogen.load_data("digits").test.pixels[:]
        import numpy as np

        np.save(Path(folder) / "digits.npy", images)
        for command in COMMANDS:
            print("anogen", command, flush=True)
            program = [str(Path(sys.executable).with_name("anogen"))]
            if command == "doctor":
                program = [sys.executable, "-m", "anogen"]
            subprocess.run([*program, *command.split()], cwd=folder, env=environment, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    print("the package is whole:", home)


if __name__ == "__main__":
    main()
