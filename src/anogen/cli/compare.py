"""`anogen compare`: several runs in one table and one page."""

from pathlib import Path

from anogen.cli.options import new_parser, print_result, table
from anogen.durable import make_folder
from anogen.errors import UsageError

DESCRIPTION = """Measure runs alike, on the same test images and with as many samples.

  anogen compare runs/vae runs/vaegan runs/gan
  anogen compare runs/vae-seed0 runs/vae-seed1 runs/gan --out results/comparison
  anogen compare runs/* --json

Runs that differ in nothing but their seed become one column with an interval."""


def main(arguments: list[str]) -> int:
    """Compare; prints a table, or with --json one object, and writes a folder with the page."""
    from anogen.experiments.compare import compare

    parser = new_parser("compare", DESCRIPTION, "RUN...")
    parser.add_argument("runs", nargs="+", help="folders of runs of the same data")
    parser.add_argument("--out", default="comparison", help="folder of the page and its pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_function_arguments(compare, skip={"runs"})
    options = parser.parse(arguments)
    from anogen.experiments.compare_page import rows, write_comparison
    from anogen.run import Run

    out, as_json = Path(options.pop("out")), options.pop("json")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: there is a file of that name; give a folder")
    make_folder(out)  # what cannot be written is to be known before the measuring
    runs = [Run.open(path) for path in options.pop("runs")]
    comparison = compare(runs, **options)
    page = write_comparison(comparison, out)
    lines = [["measure", *(kind.name for kind in comparison.kinds), "real images"]]
    for row in rows(comparison):
        cells = [f"{cell.value}{' *' if cell.best else ''}" for cell in row.cells]
        lines.append([row.key, *cells, row.floor])
    best = "* best mean; " if len(comparison.kinds) > 1 else ""
    note = f"{best}one run of a kind says nothing about chance"
    print_result(comparison.as_json(), as_json, f"{table(lines)}\n{note}\n\nreport: {page}")
    return 0
