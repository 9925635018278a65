"""`anogen score`: images in files → one row each, with score, p-value and label."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser
from anogen.errors import UsageError
from anogen.progress import say, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anogen.detection.detector import Detector
    from anogen.detection.rows import ScoreRow
    from anogen.run import Run

DESCRIPTION = """Score images, or rows of tables, with a run as a detector: one row each, with
score, p-value and label (1 = out). A file that cannot be read becomes a row with its error.

  anogen score runs/vae pictures/ one.png                rows as CSV on standard output
  anogen score runs/vae big.npy --out scores.parquet     .csv, .jsonl or .parquet
  anogen score runs/vae big.npy --out scores.csv         again after an interruption: goes on
  anogen score runs/payments new.csv --out scored.csv    rows of a table, with reasons
  anogen score runs/payments log.csv --out scored.csv --append    what was added since

The detector is the one that anogen detect or an earlier call left in the run's folder; where there
is none with that score and these weights, it is calibrated first, on validation images."""


def main(arguments: list[str]) -> int:
    """Score; prints rows, or with --out the path of what was written."""
    parser = new_parser("score", DESCRIPTION, "RUN FILE...")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("files", nargs="+", help="pictures, folders of them, .npy, .npz, IDX "
                        "files; of a run of a table .csv, .tsv, .parquet")  # fmt: skip
    parser.add_argument("--out", help="a file ending in .csv, .jsonl or .parquet; default: CSV on "
                        "standard output")  # fmt: skip
    parser.add_argument("--score", help="a score's name; default: fused or, of pictures of "
                        "48x48 or more, local_gaussian_learnt")  # fmt: skip
    parser.add_argument("--companion", action="append", default=[], help="another run, with which "
                        "scores such as likelihood_ratio and waic compare")  # fmt: skip
    parser.add_argument("--fpr", type=float, help="share of in-distribution images that may be "
                        "flagged; default: as in the run's training, or 0.01")  # fmt: skip
    parser.add_argument("--image_size", type=int, help="height and width to bring pictures to; "
                        "default: as in the run's training")  # fmt: skip
    parser.add_argument("--encoding", help="of tables in text; default: as in the run's training")
    parser.add_argument("--append", action="store_true", help="the file has grown since --out was "
                        "written: score what is new, and add it")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="stop at the first bad file")
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie, for the calibration")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_allow_code()
    options = parser.parse(arguments)
    _score(options)
    return 0


def _score(options: dict[str, Any]) -> None:
    from anogen.data.sources import find_sources
    from anogen.detection.calibration import promised
    from anogen.detection.files import score_files
    from anogen.detection.rows import (
        ScoreRow,
        TableRow,
        append_rows,
        check_format,
        has_scores,
        part_of,
        refuse_unwritable,
        rows_done,
        rows_written,
        write_csv,
        write_rows,
        writing,
    )
    from anogen.detection.table_files import Tables, score_tables
    from anogen.errors import DataError, MachineError
    from anogen.run import Run

    out = None if options["out"] is None else Path(options["out"])
    if out is not None:
        check_format(out)
        if out.exists() and any(out.samefile(file) for file in options["files"]):
            raise UsageError(f"--out {out}: is one of the files to score")
    elif sys.stdout is None:
        raise MachineError("there is no standard output to write rows to; give --out")
    run = Run.open(options["run"])
    columns = run.columns
    sources = tables = None
    identity: list[list[str | int]]
    if columns is None:
        sources = find_sources(options["files"])
        errors = [error for _, _, error in sources.parts]
        if all(errors):
            raise DataError(f"nothing could be scored; the last: {errors[-1]}")
        identity = sources.identity
    else:
        tables = Tables.open(options["files"], options["encoding"] or columns.encoding,
                             growing=options["append"])  # fmt: skip
        for table in tables.tables:
            columns.refuse_missing(table)
        identity = tables.identity
    detector = detector_of(run, options, options["device"])
    if options["image_size"] is not None:
        pictures = replace(detector.pictures, image_size=options["image_size"])
        detector = replace(detector, pictures=pictures)
    rate = promised(options["fpr"], run.false_positive_rate, len(detector.calibration.scores))
    detector.calibration.threshold(rate)  # refused before anything is written

    kind = ScoreRow if tables is None else TableRow
    settings: dict[str, Any] = {"false_positive_rate": rate, "strict": options["strict"]}

    def rows(skip: int = 0) -> "Iterator[ScoreRow]":
        if tables is not None:
            return score_tables(detector, tables, skip=skip, **settings)
        assert sources is not None
        return score_files(detector, sources, skip=skip, **settings)

    if out is None:
        write_csv((asdict(row) for row in _counted(rows())), sys.stdout, kind)
        return
    job = {
        "run": str(run.path.resolve()), "score": detector.name,
        "false_positive_rate": rate, **detector.pictures.settings,
        "files": identity, "strict": options["strict"],
        "weights": detector.weights_sha256, "calibration": detector.calibration.sha256,
    }  # fmt: skip
    refuse_unwritable(out)
    if options["append"]:
        if len(options["files"]) > 1:
            raise UsageError("--append goes on with one file that has grown; name that one")
        with writing(out):
            before = rows_written(out, str(options["files"][0]))
            show(str(append_rows(_going_on(rows, before, out), out, kind)))
            say(f"{rows_written(out) - before:,} rows were added")
        return
    with writing(out):
        done = rows_done(out, job)
        counted = _counted(rows(done), done, scored=done > 0 and has_scores(out))
        try:
            show(str(write_rows(counted, out, job, done, kind)))
        except DataError:
            if not has_scores(out):
                part_of(out).unlink(missing_ok=True)  # what failed must not count as done
            raise


def _going_on(
    rows: "Callable[[int], Iterator[ScoreRow]]", before: int, out: Path
) -> "Iterator[ScoreRow]":
    """The rows after those that are written, if the last of these would be the same again."""
    from anogen.detection.rows import last_written

    new = rows(max(0, before - 1))
    again = next(new, None) if before else None
    if before and (again is None or last_written(out) != asdict(again)):
        raise UsageError(
            f"{out}: its last row would be another one now; it was written by another detector or "
            "with other options, or that row has changed. Choose another --out"
        )
    yield from new


def _counted(
    rows: "Iterator[ScoreRow]", done: int = 0, *, scored: bool = False
) -> "Iterator[ScoreRow]":
    """The rows; at their end says how many could not be scored, and fails where none could.

    Args:
        rows: those to come.
        done: how many there are already.
        scored: whether one of these has a score.
    """
    from anogen.errors import DataError
    from anogen.progress import say

    count = bad = 0
    error = ""
    for row in rows:
        count += 1
        if row.error:
            bad, error = bad + 1, row.error
        yield row
    if bad == count and not scored and count + done:
        raise DataError(f"nothing could be scored; the last: {error or 'see the rows'}")
    if bad:
        say(f"{bad} of {count} could not be scored; their rows have the error")


def detector_of(run: "Run", options: dict[str, Any], device: str) -> "Detector":
    """The run's own detector with the score and companions of the command line."""
    from anogen.detection.detector import Detector
    from anogen.run import Run

    allow_code = options["allow_code"]
    companions = [Run.open(p).load_model(allow_code=allow_code) for p in options["companion"]]
    arguments = {name: options[name] for name in ("score", "checkpoint", "data_dir", "allow_code")}
    return Detector.of_run(run, **arguments, companions=companions, device=device)
