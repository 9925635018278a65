"""How well the default on tables finds outliers, beside what is simpler and what is published.

    python benchmarks/tables.py path/to/adbench --out docs/results/tables.json
    python benchmarks/tables.py path/to/adbench --only published --out docs/results/tables.json

Five questions, each kept as it is answered, table by table; what is there already is left:

- `normal`: trained on a shuffled half of the normal rows of each of ADBench's tables (at most
  3,000), tested on the others (at most 3,000) and as many anomalies; three seeds.
- `large`: the same with at most 20,000 rows, one seed.
- `published`: the protocol of Livernoche et al. 2024, whose AUROCs of 26 methods lie beside the
  tables: the first half of the normal rows, unshuffled; tables of less than 1,000 rows are drawn
  with replacement to that number. Three seeds.
- `unsupervised`: trained on all rows, anomalies among them, and tested on the same (at most
  10,000; small tables drawn as above), beside their other file. Three seeds.
- `generated`: the data that PyOD's own tests generate, 2 to 300 columns, 1 to 30 % outliers.

Thresholds are set for 5 % of false alarms, so that `normal` also tells how often that is kept.
"""

import argparse
import csv
import json
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyod.models.ecod import ECOD
from pyod.models.knn import KNN
from pyod.models.vae import VAE
from pyod.utils.data import generate_data
from scipy.stats import betabinom
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from anogen import OutlierDetector, PyODDetector
from anogen.detection.calibration import allowed
from anogen.durable import replace_durably

Rows = NDArray[np.float64]
Fitted = Callable[[Rows], Rows]
RATE = 0.05
FEW = 1_000
PUBLISHED = "adbench_published_DTE_{}.csv"
NORMAL, LARGE, WHOLE = 3_000, 20_000, 10_000
SIMPLE = ("5 nearest neighbours", "mixture of 10", "local outlier factor", "isolation forest")


class Default:
    """The default, fitted, with the threshold that it sets."""

    def __init__(self, known: Rows) -> None:
        self.detector = OutlierDetector(false_positive_rate=RATE).fit(known)

    def __call__(self, rows: Rows) -> Rows:
        return -self.detector.score_samples(rows)


def neighbours(known: Rows) -> Fitted:
    scaler: Any = StandardScaler().fit(known)
    search: Any = NearestNeighbors(n_neighbors=5).fit(scaler.transform(known))

    def score(rows: Rows) -> Rows:
        distances: Any = search.kneighbors(scaler.transform(rows))[0]
        return distances[:, -1]

    return score


def mixture(known: Rows) -> Fitted:
    scaler: Any = StandardScaler().fit(known)
    count = max(1, min(10, len(known) // 10))
    fitted: Any = GaussianMixture(count, reg_covar=1e-2, random_state=0).fit(
        scaler.transform(known)
    )
    return lambda rows: -fitted.score_samples(scaler.transform(rows))


def factor(known: Rows) -> Fitted:
    scaler: Any = StandardScaler().fit(known)
    fitted: Any = LocalOutlierFactor(novelty=True).fit(scaler.transform(known))
    return lambda rows: -fitted.score_samples(scaler.transform(rows))


def forest(known: Rows) -> Fitted:
    fitted: Any = IsolationForest(random_state=0).fit(known)
    return lambda rows: -fitted.score_samples(rows)


def pyod(kind: type, **options: Any) -> Callable[[Rows], Fitted]:
    def fit(known: Rows) -> Fitted:
        fitted: Any = kind(**options).fit(known)
        return fitted.decision_function

    return fit


METHODS: dict[str, Callable[[Rows], Fitted]] = {
    "anogen": Default,
    "5 nearest neighbours": neighbours,
    "mixture of 10": mixture,
    "local outlier factor": factor,
    "isolation forest": forest,
    "PyOD KNN": pyod(KNN),
    "PyOD ECOD": pyod(ECOD),
    "PyOD VAE": pyod(VAE, epoch_num=20, verbose=0),
}
RANKED = ("5 nearest neighbours", "mixture of 10", "local outlier factor")
"""Whose mean rank among the tested rows is a method too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adbench", type=Path)
    parser.add_argument("--only", choices=QUESTIONS, action="append")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for question in options.only or QUESTIONS:
        for key, answer in QUESTIONS[question](options.adbench):
            report = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
            kept = report.setdefault(question, {})
            if key not in kept:
                kept[key] = answer()
                replace_durably(options.out, (json.dumps(report, indent=1) + "\n").encode())
                print(question, key, json.dumps(kept[key]), flush=True)


Question = Iterator[tuple[str, Callable[[], Any]]]


def tables(folder: Path) -> Iterator[tuple[str, Rows, NDArray[np.bool_]]]:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as table:
            yield (path.stem.partition("_")[2], table["X"].astype(np.float64),
                   table["y"].ravel() == 1)  # fmt: skip


def each(
    folder: Path, seeds: int, answer: Callable[[Rows, NDArray[np.bool_], int], Any], least: int = 0
) -> Question:
    """A question of every table whose half of normal rows is large enough, and every seed."""
    for name, rows, out in tables(folder):
        if (~out).sum() // 2 > least:
            for seed in range(seeds):
                yield f"{name}, {seed}", lambda given=(rows, out, seed): answer(*given)


def normal(folder: Path) -> Question:
    return each(folder, 3, partial(_normal, most=NORMAL))


def _normal(rows: Rows, out: NDArray[np.bool_], seed: int, most: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    inside = random.permutation(np.flatnonzero(~out))
    outside = random.permutation(np.flatnonzero(out))[:NORMAL]
    half = len(inside) // 2
    known = rows[inside[:half][:most]]
    tested = np.concatenate([inside[half:][:NORMAL], outside])
    slow = () if most == NORMAL else ("PyOD VAE",)
    return _compared(known, rows[tested], out[tested], slow)


def large(folder: Path) -> Question:
    return each(folder, 1, partial(_normal, most=LARGE), least=NORMAL)


def _compared(
    known: Rows, rows: Rows, truth: NDArray[np.bool_], without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """AUROC, average precision and seconds of each method; of ours the false alarms too."""
    found: dict[str, Any] = {}
    scores: dict[str, Rows] = {}
    ours: Any = None
    for name, method in METHODS.items():
        if name not in without:
            start = time.perf_counter()
            fitted = method(known)
            middle = time.perf_counter()
            if isinstance(fitted, Default):
                ours = fitted.detector
            scores[name] = np.nan_to_num(fitted(rows), nan=0.0, posinf=1e300)
            found[name] = _row(truth, scores[name]) | {
                "fit_s": round(middle - start, 3),
                "score_s": round(time.perf_counter() - middle, 3),
            }
    ranks = sum(scores[name].argsort().argsort() for name in RANKED)
    found["mean rank of three"] = _row(truth, np.asarray(ranks))
    calibrated, inside = len(ours.detector_.calibration.scores), int((~truth).sum())
    count = allowed(RATE, calibrated)
    expected: Any = betabinom(inside, count, calibrated + 1 - count)  # Vovk 2012, of so many rows
    low, high = expected.ppf([0.025, 0.975]) / inside
    flagged = float((scores["anogen"][~truth] > -ours.offset_).mean())
    return found | {"flagged": flagged, "low": low, "high": high, "inside": inside}


def _row(truth: NDArray[np.bool_], scores: Rows) -> dict[str, float]:
    return {
        "auroc": round(float(roc_auc_score(truth, scores)), 5),
        "average_precision": round(float(average_precision_score(truth, scores)), 5),
    }


def _drawn(
    rows: Rows, out: NDArray[np.bool_], random: np.random.Generator, most: int
) -> tuple[Rows, NDArray[np.bool_]]:
    """As ADBench does: small tables with replacement to 1,000 rows, large ones without."""
    if len(rows) < FEW:
        chosen = random.choice(len(rows), FEW)
    elif len(rows) > most:
        chosen = random.choice(len(rows), most, replace=False)
    else:
        return rows, out
    return rows[chosen], out[chosen]


def published(folder: Path) -> Question:
    yield from each(folder, 3, _published)
    yield "methods", lambda: _published_means(folder, "semi")


def _published(rows: Rows, out: NDArray[np.bool_], seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    rows, out = _drawn(rows, out, random, 50_000)
    inside = np.flatnonzero(~out)
    half = len(inside) // 2
    tested = random.permutation(np.concatenate([inside[half:], np.flatnonzero(out)]))[:WHOLE]
    return {
        name: _row(out[tested], METHODS[name](rows[inside[:half]])(rows[tested]))["auroc"]
        for name in ("anogen", "5 nearest neighbours")
    }


def unsupervised(folder: Path) -> Question:
    yield from each(folder, 3, _unsupervised)
    yield "methods", lambda: _published_means(folder, "unsup")


def _unsupervised(rows: Rows, out: NDArray[np.bool_], seed: int) -> dict[str, float]:
    rows, out = _drawn(rows, out, np.random.default_rng(seed), WHOLE)
    ours = PyODDetector().fit(rows).decision_scores_
    others = {name: METHODS[name](rows)(rows) for name in ("PyOD KNN", "isolation forest")}
    return {name: _row(out, scores)["auroc"] for name, scores in {"anogen": ours, **others}.items()}


def _published_means(folder: Path, which: str) -> dict[str, float]:
    """Mean AUROC of each published method over the same tables."""
    with (folder / PUBLISHED.format(which)).open(encoding="utf-8", newline="") as file:
        kept = {row.pop("Dataset").lower(): row for row in csv.DictReader(file)}
    same = [kept[name.lower()] for name, _, _ in tables(folder)]
    return {
        method: round(float(np.mean([float(row[method]) / 100 for row in same])), 5)
        for method in same[0]
    }


def generated(folder: Path) -> Question:
    del folder
    for columns in (2, 5, 20, 100, 300):
        for share in (0.01, 0.1, 0.3):
            for seed in range(5):
                given = columns, share, seed
                key = f"{columns} columns, {share:g}, {seed}"
                yield key, lambda given=given: _generated(*given)
    yield "PyOD's tests", lambda: _generated(300, 0.1, 42, 6_000)


def _generated(columns: int, share: float, seed: int, count: int = 2_000) -> dict[str, float]:
    made: Any = generate_data(
        n_train=count, n_test=1_000, n_features=columns, contamination=share, random_state=seed
    )
    known, rows, _, truth = made
    ours = PyODDetector(contamination=max(share, 0.01)).fit(known)
    fitted: dict[str, Any] = {"anogen": ours, "PyOD KNN": KNN(contamination=share).fit(known)}
    found = {
        name: float(roc_auc_score(truth, each.decision_function(rows)))
        for name, each in fitted.items()
    }
    return found | {"labelled": float(ours.labels_.mean())}


QUESTIONS: dict[str, Callable[[Path], Question]] = {
    "normal": normal, "generated": generated, "unsupervised": unsupervised,
    "published": published, "large": large,
}  # fmt: skip


if __name__ == "__main__":
    main()
