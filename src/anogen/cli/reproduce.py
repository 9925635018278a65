"""`anogen reproduce`: the whole paper, as a page and one JSON file."""

from anogen.cli.options import new_parser
from anogen.progress import show

DESCRIPTION = """Train the paper's systems and a wider table, measure them, detect in both
directions, judge the paper's claims; writes report.html and results.json.

  anogen reproduce --quick                      minutes: few epochs, fewer images
  anogen reproduce                              hours: the paper's 50 epochs
  anogen reproduce --seeds 3 --epochs 10        intervals over seeds
  anogen reproduce --systems '[vae, vaegan]'    some of the systems

The same command goes on after an interruption, and does again only what has changed."""


def main(arguments: list[str]) -> int:
    """Reproduce; prints the path of the page."""
    from anogen.experiments.reproduce import reproduce

    parser = new_parser("reproduce", DESCRIPTION)
    parser.add_function_arguments(reproduce)
    show(str(reproduce(**parser.parse(arguments))))
    return 0
