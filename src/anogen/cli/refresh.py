"""`anogen refresh`: a detector learns from examples that were approved after training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser
from anogen.errors import DataError, UsageError
from anogen.progress import say, show

if TYPE_CHECKING:
    from anogen.data.images import Images
    from anogen.run import Run

DESCRIPTION = """Let a run's detector learn from examples that somebody has approved as good.

  anogen refresh runs/parts new/good/                    pictures, arrays; of a table rows
  anogen refresh runs/parts --from runs/parts/service.sqlite    what operators called good

The model stays; what its score has learnt, and the calibration, are made again from the training
data and all that was ever approved. A service that serves the run takes the new detector over. Only
approve what is good: a defect that is approved is never found again."""


def main(arguments: list[str]) -> int:
    """Refresh; prints the detector's folder."""
    parser = new_parser("refresh", DESCRIPTION, "RUN [FILE...]")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument(
        "files", nargs="*", default=[], help="approved examples, as for anogen score"
    )
    parser.add_argument("--from", dest="store", help="the store of a service: a path or a URL; "
                        "pictures that operators called good are taken")  # fmt: skip
    parser.add_argument("--score", help="a score's name; default: as anogen score")
    parser.add_argument("--data_dir", help="where data sets lie, for the calibration")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse(arguments)

    from anogen.data.splits import joined
    from anogen.detection.detector import Detector
    from anogen.detection.refresh import with_more
    from anogen.run import Run

    run = Run.open(options["run"])
    if not options["files"] and options["store"] is None:
        raise UsageError("give approved examples: files, or --from the store of a service")
    parts = list(_examples(run, options))
    if not parts:
        raise DataError("there is nothing to approve")
    examples, new = with_more(run, joined(parts))
    say(f"{new} new examples are approved, {len(examples)} in all")
    detector = Detector.of_run(run, options["score"], data_dir=options["data_dir"],
                               device=options["device"], approving=examples)  # fmt: skip
    show(str(run.detector(detector.name)))
    return 0


def _examples(run: "Run", options: dict[str, Any]) -> "Iterator[Images]":
    from anogen.data.sources import images_of

    shape = tuple(run.environment["data"]["shape"])
    if options["files"]:
        yield from images_of(options["files"], shape, run.pictures, "refresh", run.columns)
    if options["store"] is not None:
        from anogen.serving.verdicts import pictures_called

        yield from pictures_called("good", options["store"], run)
