"""Write docs/results/README.md, and the results in README.md, from the JSON files in docs/results.

python benchmarks/results_page.py

So no number there is typed by hand.
"""

import json
import re
import statistics
from pathlib import Path

import jinja2

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
        **results, median=statistics.median, median_ratio=median_ratio, min=min, max=max
    )


def median_ratio(rates: list[float], others: list[float]) -> float:
    """The median of the ratios of measurements made in turn."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
