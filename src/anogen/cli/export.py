"""`anogen export`: a run as a detector in one file, for other programs."""

from pathlib import Path

from anogen.cli.options import new_parser

DESCRIPTION = """Write a run as a detector into one ONNX file: bytes of images, or encoded rows,
in; score, p-value and label out. It is calibrated as by anogen score, and checked against anogen's
own scores.

  anogen export runs/vae --score squared_error --out detector.onnx

A score that is not computed by PyTorch alone, such as fused of images, is refused."""


def main(arguments: list[str]) -> int:
    """Export; prints the path of what was written."""
    parser = new_parser("export", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="of the file")
    parser.add_argument("--out", help="a name ending in .onnx; default: in the run's folder")
    parser.add_argument("--score", help="a score's name; default: squared_error, of pictures of "
                        "48x48 or more local_gaussian_learnt, of a table fused")  # fmt: skip
    parser.add_argument("--companion", action="append", default=[], help="another run, with which "
                        "scores such as likelihood_ratio compare")  # fmt: skip
    parser.add_argument("--fpr", type=float, help="share of in-distribution images or rows that "
                        "may be flagged; default: as in the run's training, or 0.01")  # fmt: skip
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie, for the calibration")
    parser.add_allow_code()
    options = parser.parse(arguments)

    from anogen.cli.score import detector_of
    from anogen.detection.calibration import promised
    from anogen.detection.export import export_onnx
    from anogen.detection.scores import FUSED, usual_score
    from anogen.progress import say, show
    from anogen.run import Run

    run = Run.open(options["run"])
    if options["score"] is None:
        usual = usual_score(tuple(run.environment["data"]["shape"]))
        options["score"] = "squared_error" if usual == FUSED and run.columns is None else usual
    detector = detector_of(run, options, "cpu")
    rate = promised(options["fpr"], run.false_positive_rate, len(detector.calibration.scores))
    out = Path(options["out"] or run.path / f"{options['score']}.onnx")
    validation = run.load_data(options["data_dir"]).validation
    difference = export_onnx(detector, out, validation, rate)
    say(f"checked against our own scores: they differ by {difference:.1e} of the largest")
    show(str(out))
    return 0
