"""Write docs/results/README.md from the JSON files beside it, so that no number is typed by hand.

python benchmarks/results_page.py
"""

import json
import statistics
from pathlib import Path

import jinja2

HERE = Path(__file__).parent
FOLDER = HERE.parent / "docs" / "results"


def page() -> str:
    """The whole page, in Markdown."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((HERE / "results.md.j2").read_text("utf-8"))
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
    return template.render(
        **results, median=statistics.median, median_ratio=median_ratio, min=min, max=max
    )


def median_ratio(rates: list[float], others: list[float]) -> float:
    """The median of the ratios of measurements made in turn."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(page(), "utf-8")
