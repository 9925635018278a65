"""Write docs/results/README.md, and the results in README.md, from the JSON files in docs/results.

python benchmarks/results_page.py

So no number there is typed by hand.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import jinja2
from scipy.stats import t

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "docs" / "results"
MARKED = re.compile(r"(<!-- results, [^>]*-->\n).*(<!-- end of results -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Path → the whole text that belongs there."""
    readme = (ROOT / "README.md").read_text("utf-8")
    filled = MARKED.sub(lambda m: m[1] + render("readme_results.md.j2") + m[2], readme)
    return {RESULTS / "README.md": render("results.md.j2"), ROOT / "README.md": filled}


def render(template: str) -> str:
    """A template beside this file, with every JSON file of the results under its name."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    text = environment.from_string((HERE / template).read_text("utf-8"))
    return text.render(
        **results, median=statistics.median, median_ratio=median_ratio, min=min, max=max,
        mean=statistics.mean, over_seeds=over_seeds, panel_means=panel_means, of=of,
        promises=promises,
    )  # fmt: skip


Runs = list[dict[str, Any]]


def of(runs: Runs, data: str, score: str, out_set: str, key: str) -> list[float]:
    """One measure of one score against one set, a value for each seed."""
    return [
        row[key]
        for run in runs
        if run["data"] == data
        for row in run["rows"]
        if row["score"] == score and row["out_set"] == out_set
    ]


def panel_means(runs: Runs, data: str, score: str) -> list[float]:
    """Mean AUROC over the transformed sets, a value for each seed."""
    return [
        statistics.mean(
            row["auroc"]
            for row in run["rows"]
            if row["score"] == score and row["out_set"].startswith(f"{data}+")
        )
        for run in runs
        if run["data"] == data
    ]


def promises(runs: Runs, data: str, score: str) -> Runs:
    """What was promised and kept, an entry for each seed."""
    return [
        entry
        for run in runs
        if run["data"] == data
        for entry in run["promises"]
        if entry["score"] == score
    ]


def over_seeds(values: list[float], digits: int = 4) -> str:
    """Mean and 95 % interval by Student's t, within [0, 1]."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    reach = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def median_ratio(rates: list[float], others: list[float]) -> float:
    """The median of the ratios of measurements made in turn."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
