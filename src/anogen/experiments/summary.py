"""Numbers of several seeds as means with their intervals."""

from typing import Any

from anogen.experiments.compare import estimate

SHARES = (
    "auroc", "aupr", "fpr_", "tpr_", "precision", "recall", "f1_", "false_positive_rate",
    "cosine_similarity", "coverage", "midpoint_precision", "pixel_average_precision",
)  # fmt: skip
"""How the names of numbers begin that lie in [0, 1]."""


def over_seeds(rows: list[dict[str, Any]], seeds_in_all: int) -> dict[str, Any]:
    """Number → values by seed, mean, and interval; what is no number, of the first seed.

    The interval is over seeds; over test images, where there is one seed of everything.
    """
    summary: dict[str, Any] = {}
    seeds = [row["seed"] for row in rows]
    for name, first in rows[0].items():
        if isinstance(first, int | float) and all(name in row for row in rows):
            values = [float(row[name]) for row in rows]
            mean, low, high = estimate(values, share=name.startswith(SHARES))
            if seeds_in_all == 1 and name != "false_positive_rate":
                low, high = _bounds(rows[0], name)
            summary[name] = {"seeds": seeds, "values": values, "mean": mean, "low": low,
                           "high": high}  # fmt: skip
        elif isinstance(first, str):
            summary[name] = first
    return summary


def _bounds(row: dict[str, Any], name: str) -> tuple[float | None, float | None]:
    """The ends of an interval over images; None where there is none."""
    return row.get(f"{name}_low"), row.get(f"{name}_high")


def detection_rows(judged: list[dict[str, Any]], seeds_in_all: int) -> dict[str, Any]:
    """Score → its measures over seeds; and those about what was missed."""
    scores = [row["score"] for row in judged[0]["rows"]]
    about = [{k: v for k, v in each.items() if k != "rows"} for each in judged]
    return {
        "scores": {
            score: over_seeds([{"seed": each["seed"], **row} for each in judged
                                for row in each["rows"] if row["score"] == score], seeds_in_all)
            for score in scores
        },
        "missed": over_seeds(about, seeds_in_all),
    }  # fmt: skip
