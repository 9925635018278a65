"""How well the default on tables finds outliers, beside what is simpler and what is published.

    python benchmarks/tables.py path/to/adbench --out docs/results/tables.json

Two questions. Trained on normal rows alone: half of the normal rows of each of ADBench's tables
(shuffled, at most 2,000), tested on the others (at most 5,000) and all anomalies. Trained on rows
with outliers among them: the data that PyOD's own tests generate, 300 columns, 10 % outliers.
`adbench` holds ADBench's `.npz` files and the published table of AUROCs of Livernoche et al. 2024,
whose halves are not shuffled, so that its figures are not to be compared one by one.
"""

import argparse
import csv
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyod.models.knn import KNN
from pyod.utils.data import generate_data
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from anogen import OutlierDetector, PyODDetector
from anogen.progress import Progress
from race import keep

TRAINING, NORMAL = 2_000, 5_000
PUBLISHED = "adbench_published_DTE_semi.csv"
GENERATED = ((6_000, 42), (6_000, 0), (6_000, 1), (3_000, 7))

Rows = NDArray[np.float64]


def ours(known: Rows, rows: Rows) -> Rows:
    """The default of `OutlierDetector`; a twentieth is held out, as there are few rows."""
    return -OutlierDetector(held_out=0.05).fit(known).score_samples(rows)


def neighbours(known: Rows, rows: Rows) -> Rows:
    """The distance to the fifth nearest of the rows, each column divided by its deviation."""
    scaler = StandardScaler().fit(known)
    search = NearestNeighbors(n_neighbors=5).fit(scaler.transform(known))
    return search.kneighbors(scaler.transform(rows))[0][:, -1]


def forest(known: Rows, rows: Rows) -> Rows:
    """scikit-learn's isolation forest."""
    return -IsolationForest(random_state=0).fit(known).score_samples(rows)


METHODS: dict[str, Callable[[Rows, Rows], Rows]] = {
    "anogen": ours,
    "5 nearest neighbours, standardised": neighbours,
    "isolation forest": forest,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adbench", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    files = sorted(options.adbench.glob("*.npz"))
    found = {path.stem.partition("_")[2]: measured(path, options.seeds) for path in files}
    report: dict[str, Any] = {
        "seeds": options.seeds,
        "tables": found,
        "published": published(options.adbench / PUBLISHED, list(found)),
        "generated": [generated(*each) for each in GENERATED],
    }
    for name in METHODS:
        print(name, statistics.mean(v for row in found.values() for v in row[name]))
    print(report["published"], *report["generated"], sep="\n")
    keep(report, options.out)


def measured(path: Path, seeds: int) -> dict[str, list[float]]:
    """AUROC of every method on one table, a value for each seed."""
    with np.load(path, allow_pickle=False) as table:
        rows, out = table["X"].astype(np.float64), table["y"].astype(np.int64).ravel() == 1
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    with Progress(path.stem, seeds * len(METHODS)) as bar:
        for seed in range(seeds):
            normal = np.random.default_rng(seed).permutation(np.flatnonzero(~out))
            half = len(normal) // 2
            tested = np.concatenate([normal[half:][:NORMAL], np.flatnonzero(out)])
            for name, method in METHODS.items():
                scores = method(rows[normal[:half][:TRAINING]], rows[tested])
                found[name].append(float(roc_auc_score(out[tested], scores)))
                bar.advance(1)
    return found


def published(path: Path, tables: list[str]) -> dict[str, float]:
    """Mean AUROC over the same tables of nearest neighbours, and of the best method of all."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row.pop("Dataset").lower(): row for row in csv.DictReader(file)}
    same = [rows[name.lower()] for name in tables if name.lower() in rows]
    means = {name: statistics.mean(float(row[name]) / 100 for row in same) for name in same[0]}
    best = max(means, key=means.__getitem__)
    return {"tables": len(same), "KNN": means["KNN"], best: means[best]}


def generated(count: int, seed: int) -> dict[str, Any]:
    """AUROC on the test rows of PyOD's generated data, and the share of training rows labelled."""
    made: Any = generate_data(
        n_train=count, n_test=1_000, n_features=300, contamination=0.1, random_state=seed
    )
    known, rows, _, truth = made
    mine = PyODDetector(contamination=0.1).fit(known)
    trained = PyODDetector(score_name="squared_error", random_state=seed).fit(known)
    peer = KNN(contamination=0.1).fit(known)
    return {
        "rows": count,
        "seed": seed,
        "labelled": float(mine.labels_.mean()),
        "anogen": float(roc_auc_score(truth, mine.decision_function(rows))),
        "a VAE's squared error": float(roc_auc_score(truth, trained.decision_function(rows))),
        "PyOD's KNN": float(roc_auc_score(truth, peer.decision_function(rows))),
    }


if __name__ == "__main__":
    main()
