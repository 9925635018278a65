"""How the members of the fused score of tables were chosen: on anomalies made from training rows.

    python benchmarks/table_members.py path/to/adbench --out docs/results/table_members.json

Of the normal rows of each table a shuffled half, at most 2,000 rows; 70 % of these are learnt from,
and the others are tested beside 300 anomalies of each of ADBench's four kinds (Han et al. 2022,
section 3.2), made from the rows: `local` (a mixture of five Gaussians with its covariances times
five), `cluster` (its means times five), `global` (uniform between the extremes), `dependency`
(each column drawn by itself). Each value is moved to the nearest one that its column has, so that
none is told by values which a column never has. No labelled anomaly is used.
"""

import argparse
import json
import statistics
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from anogen import VAE, Detector, Splits
from anogen.data.scaling import Scaling
from anogen.detection.scores.surprises import surprises
from anogen.durable import replace_durably
from tables import tables

Rows = NDArray[np.float64]
MOST, MADE, FACTOR = 2_000, 300, 5.0
CANDIDATES = (
    "local_density", "local_density_of_ranks", "row_mixture", "row_mixture_of_ranks",
    "row_neighbours", "core_neighbours", "robust_distance", "isolation_forest", "principal_error",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adbench", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    measurements = [measured(rows[~out]) for _, rows, out in tables(options.adbench)]
    means = {
        members: {
            kind: round(statistics.mean(each[kind][members] for each in measurements), 5)
            for kind in measurements[0]
        }
        for members in next(iter(measurements[0].values()))
    }
    ranked = dict(sorted(means.items(), key=lambda pair: -statistics.mean(pair[1].values())))
    report = {"tables": len(measurements), "auroc": ranked}
    replace_durably(options.out, (json.dumps(report) + "\n").encode())


def measured(normal: Rows) -> dict[str, dict[str, float]]:
    """Kind of anomaly → members, joined by + → AUROC."""
    random = np.random.default_rng(0)
    rows = normal[random.permutation(len(normal))[: min(MOST, len(normal) // 2)]]
    known, others = np.split(rows, [int(0.7 * len(rows))])
    found: dict[str, dict[str, float]] = {}
    made = {kind: moved(made, rows) for kind, made in anomalies(rows, random).items()}
    scores = surprise_of_each(known, np.concatenate([others, *made.values()]))
    for place, kind in enumerate(made):
        start = len(others) + MADE * place
        chosen = np.r_[: len(others), start : start + MADE]
        truth = np.arange(len(chosen)) >= len(others)
        found[kind] = {
            "+".join(members): round(
                float(roc_auc_score(truth, sum(scores[name][chosen] for name in members))), 5
            )
            for count in range(1, 5)
            for members in combinations(CANDIDATES, count)
        }
    return found


def anomalies(rows: Rows, random: np.random.Generator) -> dict[str, Rows]:
    mean, scale = rows.mean(0), rows.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (rows - mean) / scale
    components = max(1, min(5, len(z) // 20))
    mixture: Any = GaussianMixture(components, reg_covar=1e-3, random_state=0).fit(z)
    component = random.choice(components, MADE, p=mixture.weights_ / mixture.weights_.sum())
    factors = np.linalg.cholesky(mixture.covariances_)[component]
    noise = np.einsum("nij,nj->ni", factors, random.normal(size=(MADE, z.shape[1])))
    centres = mixture.means_[component]
    made = {
        "local": centres + np.sqrt(FACTOR) * noise,
        "cluster": FACTOR * centres + noise,
        "global": random.uniform(1.1 * z.min(0), 1.1 * z.max(0), (MADE, z.shape[1])),
        "dependency": np.column_stack([random.choice(column, MADE) for column in z.T]),
    }
    return {kind: each * scale + mean for kind, each in made.items()}


def moved(made: Rows, rows: Rows) -> Rows:
    """Each value moved to the nearest one that its column has."""
    columns: list[Rows] = []
    for values, own in zip(made.T, rows.T, strict=True):
        levels = np.unique(own)
        above = np.searchsorted(levels, values).clip(0, len(levels) - 1)
        below = (above - 1).clip(0)
        nearer = np.abs(levels[below] - values) <= np.abs(levels[above] - values)
        columns.append(np.where(nearer, levels[below], levels[above]))
    return np.column_stack(columns)


def surprise_of_each(known: Rows, rows: Rows) -> dict[str, Rows]:
    """The surprise of each candidate, cross-fitted by a fifth, as the fused score has it."""
    import torch

    scaling = Scaling.of(known)
    images, tested = scaling.images(known), scaling.images(rows)
    model = VAE(images.shape, 2, width=4).requires_grad_(False)
    fold = np.random.default_rng(0).permutation(len(known)) % 5
    found: dict[str, Rows] = {}
    for name in CANDIDATES:
        usual = np.empty(len(known))
        for part in range(5):
            rest = images[np.flatnonzero(fold != part)]
            fitted = Detector.fit(model, Splits(rest, rest, rest), name)
            usual[fold == part] = fitted.score(images[np.flatnonzero(fold == part)])
        scores = Detector.fit(model, Splits(images, images, images), name).score(tested)
        ascending = torch.from_numpy(np.sort(usual))[None]
        found[name] = surprises(torch.from_numpy(scores)[:, None], ascending)[:, 0].numpy()
    return found


if __name__ == "__main__":
    main()
