"""`anogen report`: a run's page, of all that was measured of it."""

from anogen.cli.options import new_parser
from anogen.progress import show

DESCRIPTION = """Write a run's report.html, of what anogen evaluate and anogen detect have found.
A run that has not been evaluated since its last epoch is, first.

  anogen report runs/vae

The page is one file, which needs no network: tables, pictures, settings, and the commands that make
its numbers again."""


def main(arguments: list[str]) -> int:
    """Report; prints the path of the page, below the table of a run that it had to evaluate."""
    parser = new_parser("report", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_allow_code()
    options = parser.parse(arguments)

    from anogen.cli.evaluate import main as evaluate
    from anogen.report.page import write_page
    from anogen.run import Run

    run = Run.open(options["run"])
    if run.read_json("evaluation.json").get("epoch") != len(run.metrics):
        allowed = ["--allow_code"] if options["allow_code"] else []
        return evaluate([str(run.path), *allowed])
    show(str(write_page(run)))
    return 0
