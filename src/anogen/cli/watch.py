"""`anogen watch`: whether a stream of scores is still what a detector was calibrated for."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser, print_result
from anogen.errors import UsageError
from anogen.progress import say, show

if TYPE_CHECKING:
    from anogen.detection.watch import Watch
    from anogen.run import Run

FORMATS = (".csv", ".jsonl", ".parquet")

DESCRIPTION = """Look whether a stream is still what a run's detector was calibrated for.

  anogen watch runs/parts --from scores.csv              rows of anogen score, in their order
  anogen watch runs/parts new/                           files, which are scored first
  anogen watch runs/parts --from runs/parts/service.sqlite    what a service has seen
  anogen watch runs/parts --from scores.csv --group "^[^_]*"  a watch for each group of files
  anogen watch runs/parts --verdicts judged/             operators' verdicts as a labelled set

Bets are made that p-values are no longer uniform; where nothing changes, they win a hundredfold
with a probability of 0.01 at most, however long one looks. Writes RUN/watch.html."""


def main(arguments: list[str]) -> int:
    """Watch; prints what was found."""
    parser = new_parser("watch", DESCRIPTION, "RUN [FILE...]")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("files", nargs="*", default=[], help="as for anogen score; scored by name")
    parser.add_argument("--from", dest="source", help="rows that anogen score has written, or the "
                        "store of a service: a path or a URL")  # fmt: skip
    parser.add_argument("--group", help="a regular expression; what it finds in a file's path is "
                        "the stream that the file belongs to")  # fmt: skip
    parser.add_argument("--level", type=float, default=0.01, help="probability of a false alarm of "
                        "each watch, at any time")  # fmt: skip
    parser.add_argument("--fpr", type=float, help="share of examples that may be called out; "
                        "default: as in the run's training")  # fmt: skip
    parser.add_argument("--alert", help="where alarms go: a web address, or a file")
    parser.add_argument("--verdicts", help="a folder for operators' verdicts, from the store that "
                        "--from names, by default the run's own")  # fmt: skip
    parser.add_argument("--score", help="a score's name; default: as anogen score")
    parser.add_argument("--data_dir", help="where data sets lie, for the calibration")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(arguments)

    from anogen.run import Run

    run = Run.open(options["run"])
    if options["verdicts"] is not None:
        from anogen.serving.verdicts import export_verdicts

        store = options["source"] or run.store
        show(str(export_verdicts(store, options["verdicts"], run.name)))
        return 0
    if (options["source"] is None) == (not options["files"]):
        raise UsageError("give files to score, or --from scores or a service's store")
    result = _watch(run, options)
    print_result(result, options["json"], _text(result))
    return 0


def _watch(run: "Run", options: dict[str, Any]) -> dict[str, Any]:
    from anogen.detection.calibration import promised
    from anogen.detection.detector import Detector
    from anogen.detection.watch_page import write_watch_page

    detector = Detector.of_run(run, options["score"], data_dir=options["data_dir"],
                               device=options["device"])  # fmt: skip
    rate = promised(options["fpr"], run.false_positive_rate, len(detector.calibration.scores))
    detector.calibration.threshold(rate)
    if options["source"] is not None and _is_store(options["source"]):
        watches = _of_store(run, detector, options, rate)
    else:
        watches = _of_rows(detector, options, rate)
    if options["alert"] is not None:
        from anogen.serving.alerts import alerts_to

        tell = alerts_to(options["alert"])
        for name, watch in watches.items():
            for alarm in watch.alarms:
                tell(run.name, name, alarm)
    result = {
        "run": run.shown, "score": detector.name,
        "calibrated_on": len(detector.calibration.scores),
        "streams": [{"stream": name, **watch.summary} for name, watch in watches.items()],
    }  # fmt: skip
    if run.is_writable:
        result["page"] = str(write_watch_page(run, result))
    else:
        say(f"{run.path} cannot be written; the page is not kept")
    return result


def _of_rows(detector: Any, options: dict[str, Any], rate: float) -> "dict[str, Watch]":
    from anogen.detection.watch_files import watches_of

    pattern = None
    if options["group"] is not None:
        try:
            pattern = re.compile(options["group"])
        except re.error as error:
            raise UsageError(f"--group {options['group']}: no regular expression ({error})"
                             ) from error  # fmt: skip
    files = [options["source"]] if options["source"] is not None else options["files"]
    return watches_of(detector, files, scored=options["source"] is not None, group=pattern,
                      level=options["level"], rate=rate)  # fmt: skip


def _is_store(where: str) -> bool:
    if Path(where).suffix in FORMATS:
        return False
    from anogen.serving.store import is_store

    return is_store(where)


def _of_store(
    run: "Run", detector: Any, options: dict[str, Any], rate: float
) -> "dict[str, Watch]":
    from anogen.serving.store import Store
    from anogen.serving.watching import watches_in

    if options["group"] is not None:
        raise UsageError("--group is for files; a service's streams have names already")
    store = Store.open(options["source"], existing=True)
    try:
        return watches_in(store, run, detector, options["level"], rate)
    finally:
        store.forget_connections()


def _text(result: dict[str, Any]) -> str:
    lines: list[str] = []
    for stream in result["streams"]:
        calling = stream["calling"]
        name = stream["stream"] or "all"
        share = "–" if calling["share"] is None else f"{calling['share']:.4f}"
        lines.append(
            f"{name}: {stream['seen']:,} examples, {share} flagged ({calling['low']:.4f} to "
            f"{calling['high']:.4f}; promised {calling['promised_low']:.4f} to "
            f"{calling['promised_high']:.4f}), {len(stream['alarms'])} alarms"
        )
        lines += [f"  after {alarm['at']:,}: {alarm['text']}" for alarm in stream["alarms"]]
    if "page" in result:
        lines += ["", f"page: {result['page']}"]
    return "\n".join(lines)
