"""By how much the same computation differs between processors, as far as one machine can show.

    python benchmarks/processors.py --out docs/results/processors.json

The same run is trained and the same images are scored in processes that may use other instructions:
all that the processor has, float32 instead of bfloat16, AVX2 only, and no C++ compiler. Compared is
with the first of these: the squared error on test images after training from one seed, and, with
the weights of the first training everywhere, the scores and p-values of the same test images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anogen import VAE, Detector, Run, evaluate, fit, load_data
from anogen.progress import silence
from race import keep, machine

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SETTINGS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "float32": {"PRECISION": "float32"},
    "AVX2 only": PLAIN,
    "AVX2 only, no compiler": PLAIN | {"ANOGEN_NO_COMPILER": "1"},
}
SCORES = ("squared_error", "fused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="auto")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(measured(options)))
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, environment) in enumerate(SETTINGS.items()):
            command = [sys.executable, __file__, "--data", options.data, "--limit",
                       str(options.limit), "--epochs", str(options.epochs), "--work",
                       f"{folder}/{index}"]  # fmt: skip
            done = subprocess.run(command, env=os.environ | environment, check=True,
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
            found[name] = json.loads(done.stdout)
    rows = {name: compared(found["as it comes"], each) for name, each in found.items()}
    for name, row in rows.items():
        print(name, {key: f"{value:.3g}" for key, value in row.items()})
    keep(machine() | {"limit": options.limit, "epochs": options.epochs, "rows": rows}, options.out)


def measured(options: Any) -> dict[str, Any]:
    """What one process finds: its own training, and scores with the first training's weights."""
    data = load_data(options.data, limit=options.limit)
    precision: Any = os.environ.get("PRECISION", "auto")
    torch.manual_seed(0)
    with silence():
        own = fit(VAE(data.shape, latent=16), data, options.work, epochs=options.epochs,
                  precision=precision, device="cpu")  # fmt: skip
        error = evaluate(own.load_model("last"), data.test)["squared_error"]
        result: dict[str, Any] = {"error_after_training": error}
        first = Run.open(options.work.with_name("0"))
        for score in SCORES:
            detector = Detector.of_run(first, score)
            scores, p_values = detector.score(data.test), detector.p_value(data.test)
            result[score] = {"scores": scores.tolist(), "p": p_values.tolist()}
    return result


def compared(first: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Differences from the first setting."""
    row = {
        "error_after_training": other["error_after_training"],
        "error_difference": other["error_after_training"] / first["error_after_training"] - 1,
    }
    for score in SCORES:
        a, b = (np.array(each[score]["scores"]) for each in (first, other))
        p, q = (np.array(each[score]["p"]) for each in (first, other))
        row[f"{score}_difference"] = float(np.abs(b - a).max() / np.abs(a).max())
        row[f"{score}_p_difference"] = float(np.abs(q - p).max())
        row[f"{score}_labels_changed"] = float(((p <= 0.01) != (q <= 0.01)).mean())
    return row


if __name__ == "__main__":
    main()
