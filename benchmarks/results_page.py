"""Write the pages of results, and the results within README.md, CONTRIBUTING.md and the guides.

python benchmarks/results_page.py

All from the JSON files in docs/results, so no number there is typed by hand.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata, wilcoxon

from anogen.experiments.claims import Claim
from anogen.experiments.compare import estimate
from anogen.experiments.systems import SYSTEMS
from anogen.report.paper import TABLE_1, TABLE_2
from race import exponent, median_ratio

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "docs" / "results"
MARKED = re.compile(r"(<!-- results, [^>]*-->\n).*(<!-- end of results -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Path → the whole text that belongs there."""
    guides = ROOT / "docs" / "guides"
    return {
        RESULTS / "README.md": render("results.md.j2"),
        ROOT / "docs" / "performance.md": render("performance.md.j2"),
        ROOT / "docs" / "platforms.md": render("platforms.md.j2"),
        ROOT / "docs" / "gallery.md": render("gallery.md.j2"),
        ROOT / "README.md": filled(ROOT / "README.md", "readme_results.md.j2"),
        ROOT / "docs" / "paper.md": filled(ROOT / "docs" / "paper.md", "paper_results.md.j2"),
        guides / "own-model.md": filled(guides / "own-model.md", "own_model.md.j2"),
        guides / "own-score.md": filled(guides / "own-score.md", "own_score.md.j2"),
        ROOT / "CONTRIBUTING.md": filled(ROOT / "CONTRIBUTING.md", "mutants_results.md.j2"),
        guides / "tables.md": filled(guides / "tables.md", "tables_results.md.j2"),
        guides / "parts.md": filled(guides / "parts.md", "parts_results.md.j2"),
        guides / "serving.md": filled(guides / "serving.md", "serving_results.md.j2"),
        guides / "restoring.md": filled(guides / "restoring.md", "restoration_results.md.j2"),
        guides / "texts.md": filled(guides / "texts.md", "texts_results.md.j2"),
        guides / "translating.md": filled(guides / "translating.md", "translation_results.md.j2"),
    }


def filled(page: Path, template: str) -> str:
    """A page with what lies between its two marks rendered from a template."""
    text = render(template)
    return MARKED.sub(lambda marks: marks[1] + text + marks[2], page.read_text("utf-8"))


def results() -> dict[str, Any]:
    """Every JSON file of the results under its name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}


def render(template: str) -> str:
    """A template beside this file, filled with the results."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    text = environment.get_template(template)
    return text.render(
        **results(), median=statistics.median, median_ratio=median_ratio, min=min, max=max,
        mean=statistics.mean, over_seeds=over_seeds, panel_means=panel_means, of=of,
        promises=promises, costs=costs, exponent=exponent, all_systems=SYSTEMS, interval=interval,
        by_kind=by_kind, differences=differences, table_1=TABLE_1, table_2=TABLE_2,
        shown=shown, source=source, ratios=ratios, minutes_per_seed=minutes_per_seed,
        table_rows=table_rows, table_mean=table_mean, mean_flagged=mean_flagged,
        shown_range=shown_range, of_kind=of_kind, members_of=members_of,
        share_within=share_within, share_above=share_above, best_of=best_of,
        part_rows=part_rows, few_shown=few_shown, seeds_of=seeds_of,
        generated_rows=generated_rows, names_of=names_of, photograph_rows=photograph_rows,
        small_rows=small_rows, percent=percent, beside=beside,
    )  # fmt: skip


Runs = list[dict[str, Any]]
DENOISED = {("Set12", 15): (32.37, 32.86), ("Set12", 25): (29.97, 30.44),
            ("Set12", 50): (26.72, 27.18), ("BSD68", 15): (31.07, 31.73),
            ("BSD68", 25): (28.57, 29.23), ("BSD68", 50): (25.62, 26.23)}  # fmt: skip
"""PSNR of BM3D and DnCNN-S, Zhang et al. 2017, tables 2 and 3, by data and σ of 255."""


def shown(claim: dict[str, Any]) -> str:
    """The verdict on a claim, with the number of seeds where they are too few."""
    return Claim(**claim).shown


def ratios(rates: dict[str, list[float]]) -> list[float]:
    """Of the two who raced, repetition by repetition."""
    first, second = rates.values()
    return [a / b for a, b in zip(first, second, strict=True)]


def source(name: str) -> str:
    """An example, without the lines that a page does not need: its first ones and its program."""
    text = (ROOT / "examples" / name).read_text("utf-8")
    code = text.partition('"""\n\n')[2].partition('\n\nif __name__ == "__main__":')[0]
    return code.replace("import argparse\n", "").strip()


def percent(row: dict[str, Any], name: str) -> str:
    """A share with its interval, in percent."""
    low, high = (100 * row[f"{name}_{end}"] for end in ("low", "high"))
    return f"{100 * row[name]:.1f} ({low:.1f} to {high:.1f})"


def beside(row: dict[str, Any], name: str, digits: int) -> str:
    """Cells: a number of translations, of copies and of the nearest pairs, if there are any."""
    values = [row.get(f"{name}{ending}") for ending in ("", "_copy", "_nearest")]
    return " | ".join("–" if value is None else f"{value:.{digits}f}" for value in values)


def names_of(rows: Runs) -> list[str]:
    """The methods, in their order."""
    return list(dict.fromkeys(row["method"] for row in rows))


def photograph_rows(rows: Runs) -> Runs:
    """A line for each set and noise: PSNR and SSIM of each method, and published PSNR."""
    lines = _lines(rows, lambda row: f"{row['psnr_db']:.2f} ({row['ssim']:.3f})")
    by_kind = {(line["data"], line["sigma"]): line for line in lines}
    return [
        {**by_kind[kind], "bm3d": bm3d, "dncnn": dncnn} for kind, (bm3d, dncnn) in DENOISED.items()
    ]


def small_rows(rows: Runs) -> Runs:
    """A line for each set and noise: PSNR of each method with its interval."""
    return _lines(rows, lambda row: f"{row['psnr_db']:.2f} ± {row['psnr_half_db']:.2f}")


def _lines(rows: Runs, cell: Callable[[dict[str, Any]], str]) -> Runs:
    kinds = dict.fromkeys((row["data"], row["sigma"]) for row in rows)
    by_place = {(row["data"], row["sigma"], row["method"]): cell(row) for row in rows}
    return [
        {"data": data, "sigma": sigma,
         "cells": [by_place[data, sigma, name] for name in names_of(rows)]}
        for data, sigma in kinds
    ]  # fmt: skip


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


def costs(bare: Sequence[float], ours: Sequence[float]) -> str:
    """How much longer ours takes than the bare loop, from rates measured in turn."""
    found = [100 * (b / o - 1) for b, o in zip(bare, ours, strict=True)]
    return f"{statistics.median(found):.1f} % ({min(found):.1f} to {max(found):.1f})"


def by_kind(rows: Runs, name: str, kind: str) -> list[float]:
    """One measure of one kind of training, a value for each seed."""
    return [row[name] for row in rows if row["kind"] == kind]


def differences(ours: list[float], others: list[float]) -> list[float]:
    """Of each seed's two values."""
    return [a - b for a, b in zip(ours, others, strict=True)]


TableRuns = dict[str, dict[str, Any]]
"""Of one question of `benchmarks/tables.py`: `table, seed` → what was measured."""


def table_values(runs: TableRuns, method: str, measure: str) -> dict[str, float]:
    """Table → mean over the seeds."""
    values: dict[str, list[float]] = {}
    for key, run in runs.items():
        values.setdefault(key.rpartition(", ")[0], []).append(run[method].get(measure, 0.0))
    return {table: statistics.mean(each) for table, each in values.items()}


def table_rows(runs: TableRuns) -> list[dict[str, Any]]:
    """A row for each method, the best first, with its difference from ours by Wilcoxon's test."""
    first = next(iter(runs.values()))
    methods = [name for name, value in first.items() if isinstance(value, dict)]
    auroc = {method: list(table_values(runs, method, "auroc").values()) for method in methods}
    ranks = rankdata(-np.array(list(auroc.values())), axis=0).mean(1)
    others = [method for method in methods if method != "anogen"]
    tests: list[Any] = [wilcoxon(auroc["anogen"], auroc[method]) for method in others]
    order = sorted(zip(others, tests, strict=True), key=lambda pair: pair[1].pvalue)
    corrected: dict[str, float] = {}
    for place, (method, test) in enumerate(order):  # Holm
        before = max(corrected.values(), default=0.0)
        corrected[method] = max(before, min(1.0, (len(order) - place) * float(test.pvalue)))
    rows = [
        {
            "method": method,
            "tables": len(auroc[method]),
            "auroc": statistics.mean(auroc[method]),
            "average_precision": statistics.mean(
                table_values(runs, method, "average_precision").values()
            ),
            "rank": float(rank),
            "seconds": sum(
                sum(table_values(runs, method, part).values()) for part in ("fit_s", "score_s")
            ),
            "p": corrected.get(method),
        }
        for method, rank in zip(methods, ranks, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["auroc"])


def table_mean(runs: TableRuns, method: str) -> float:
    """Mean AUROC over tables, of a question with nothing but AUROCs."""
    values: dict[str, list[float]] = {}
    for key, run in runs.items():
        if key != "methods":
            values.setdefault(key.rpartition(", ")[0], []).append(run[method])
    return statistics.mean(statistics.mean(each) for each in values.values())


def mean_flagged(runs: TableRuns) -> float:
    """Share of normal test rows that ours flagged, mean over runs."""
    return statistics.mean(run["flagged"] for run in runs.values())


def share_within(runs: TableRuns) -> float:
    """Share of the runs whose false alarms lie in the stated interval."""
    return statistics.mean(run["low"] <= run["flagged"] <= run["high"] for run in runs.values())


def share_above(runs: TableRuns) -> float:
    """Share of the runs with more false alarms than the stated interval allows."""
    return statistics.mean(run["flagged"] > run["high"] for run in runs.values())


def best_of(methods: dict[str, float], count: int) -> list[tuple[str, float]]:
    """The methods with the largest values."""
    return sorted(methods.items(), key=lambda pair: -pair[1])[:count]


def part_rows(parts: dict[str, Any]) -> list[dict[str, str]]:
    """A row for each score on pictures of parts, the best first; over seeds where there are any."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for key, run in parts["tiles"].items():
        runs.setdefault(key.rpartition(", ")[0], []).append(run)
    for trained in parts["model"].values():
        for key in ("fused", "local_gaussian_encoder"):
            runs[key] = [trained[key] | {"fit_s": trained["train_s"]}]

    def shown(values: list[float], digits: int) -> str:
        mean = f"{statistics.mean(values):.{digits}f}"
        few = len(values) == 1
        return mean if few else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    rows: list[dict[str, str]] = []
    for name, each in sorted(
        runs.items(), key=lambda pair: -statistics.mean(run["auroc"] for run in pair[1])
    ):
        digits = {"auroc": 3, "found": 2, "pixel_auroc": 3, "aupro": 3, "fit_s": 0, "ms_one": 0}
        row = {"name": f"`{name}`"}
        for key, places in digits.items():
            values = [run[key] for run in each if key in run]
            row[key] = shown(values, places) if values else "–"
        kinds = [statistics.mean(run["kinds"][kind] for run in each) for kind in each[0]["kinds"]]
        rows.append(row | {"kinds": ", ".join(f"{value:.2f}" for value in kinds)})
    return rows


def seeds_of(parts: dict[str, Any], name: str) -> int:
    """How many seeds a score was measured with on pictures of parts."""
    return sum(key.startswith(f"{name},") for key in parts["tiles"])


def few_shown(parts: dict[str, Any], name: str, count: int) -> str:
    """The AUROC of a score fitted to few pictures, if it was measured."""
    run = parts["few"].get(f"{name}, {count}")
    return "–" if run is None else f"{run['auroc']:.3f}"


def generated_rows(runs: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """A row for each kind of generated data, over its seeds."""
    kinds: dict[str, list[dict[str, float]]] = {}
    for key, run in runs.items():
        kinds.setdefault(key.rpartition(", ")[0] or key, []).append(run)
    return [
        {
            "about": about,
            "ours": statistics.mean(run["anogen"] for run in each),
            "least": min(run["anogen"] for run in each),
            "theirs": statistics.mean(run["PyOD KNN"] for run in each),
            "their_least": min(run["PyOD KNN"] for run in each),
            "labelled": statistics.mean(run["labelled"] for run in each),
        }
        for about, each in kinds.items()
    ]


def shown_range(values: list[float], digits: int) -> str:
    """Mean, and the least and the greatest."""
    low, middle, high = min(values), statistics.mean(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def of_kind(
    rows: Sequence[dict[str, Any]], kind: str, measure: str = "mutual_information_gap"
) -> list[float]:
    """A measure of every run of one kind."""
    return [row[measure] for row in rows if row["kind"] == kind]


def members_of(means: dict[str, dict[str, float]], members: str) -> float:
    """Mean over kinds of anomalies of a set of members."""
    return statistics.mean(means[members].values())


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of any numbers."""
    mean, low, high = estimate(values)
    return f"{mean:.4g}" if low is None else f"{mean:.4g} ({low:.4g} to {high:.4g})"


def over_seeds(values: list[float], digits: int = 4) -> str:
    """Mean and 95 % interval of shares."""
    mean, low, high = estimate(values, share=True)
    if low is None:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def minutes_per_seed(
    found: dict[str, Any], kinds: tuple[str, ...], systems: Sequence[str]
) -> float:
    """What stages of `anogen reproduce` took, a seed's worth of them."""
    stages = {f"{kind}-{name}-{seed}" for kind in kinds for name in systems
              for seed in range(found["settings"]["seeds"])}  # fmt: skip
    took = sum(seconds for stage, seconds in found["seconds"].items() if stage in stages)
    return took / 60 / found["settings"]["seeds"]


def draw_performance(training: dict[str, Any], scoring: dict[str, Any]) -> None:
    """Images per second of everybody, a panel for each kind of work."""
    panels = {
        f"training {model}, batch {batch}": rates
        for model, batches in training["images_per_s"].items()
        for batch, rates in batches.items()
    } | {"scoring": scoring["images_per_s"]}
    figure = Figure(figsize=(11, 0.36 * sum(len(p) + 2 for p in panels.values()) / 2),
                    layout="constrained")  # fmt: skip
    axes: Any = figure.subplots((len(panels) + 1) // 2, 2).ravel()
    for axis, (title, rates) in zip(axes, panels.items(), strict=False):
        names = [name.removeprefix("anogen export, ") for name in rates][::-1]
        middle = [statistics.median(found) for found in rates.values()][::-1]
        ours = [name.startswith("anogen") for name in rates][::-1]
        axis.barh(names, middle, color=["#0072B2" if our else "#999999" for our in ours])
        axis.bar_label(axis.containers[0], [f" {value:,.0f}" for value in middle], fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("images per second", fontsize=9)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.savefig(RESULTS / "performance.png", dpi=110)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
    draw_performance(*(results()[f"{kind}_throughput"] for kind in ("training", "scoring")))
