"""`anogen detect`: a run as a calibrated detector, judged against sets from elsewhere."""

import shlex
from dataclasses import asdict, replace
from typing import Any

from anogen.cli.options import new_parser, print_result, table
from anogen.errors import UsageError

DESCRIPTION = """Calibrate on held-out images of the run's own data, then judge its test images
against sets from elsewhere; prints the paper's Table 2 and every measure.

  anogen detect runs/vae --out fashion-mnist
  anogen detect runs/vae --out fashion-mnist --out mnist+blur --score all --fpr 0.05
  anogen detect runs/vae --out my/pictures --json

A set is the name of a data set or a path, with a transformation after + if you like. Nothing of
the sets from elsewhere is used to fit or to calibrate. A set without a part for testing, of ten
images or more, is judged whole, unless it is the run's own data, transformed. The run's page and
detection.json keep what was detected before with the same weights."""

MAX_PASSES = 100
"""A score with more passes through the networks than this is computed where it is named only."""
SHOWN = ("auroc", "aupr_out", "aupr_in", "fpr_at_95_tpr", "tpr_at_1_fpr", "tpr_at_5_fpr")
TABLE_2 = tuple(f"{name}_{label}" for label in (0, 1) for name in ("precision", "recall", "f1"))


def main(arguments: list[str]) -> int:
    """Detect; prints tables, or with --json one object with `rows` and `table2`."""
    parser = new_parser("detect", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", action="append", default=[], help="an out-of-distribution set; "
                        "may be given several times (default: the labelled anomalies of a table)"
                        )  # fmt: skip
    parser.add_argument("--score", action="append", help="a score's name, or all: those that "
                        f"cost at most {MAX_PASSES} passes; may be given several times (default: "
                        "fused and squared_error)")  # fmt: skip
    parser.add_argument("--companion", action="append", default=[], help="another run, with which "
                        "scores such as likelihood_ratio and waic compare")  # fmt: skip
    parser.add_argument("--fpr", type=float, help="share of in-distribution images that may be "
                        "flagged; default: as in the run's training, or 0.01")  # fmt: skip
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_allow_code()
    options = parser.parse(arguments)
    result = _detect(options)
    print_result(result, options["json"], _text(result))
    return 0


def _detect(options: dict[str, Any]) -> dict[str, Any]:
    from anogen.detection.detector import DEFINITIONS
    from anogen.detection.judge import judge
    from anogen.detection.pictures import detection_pictures
    from anogen.detection.scores import FUSED, SCORES, available
    from anogen.detection.table_files import most_anomalous
    from anogen.progress import say, stage
    from anogen.report.gallery import keep_pictures, kept_pictures
    from anogen.report.page import write_page
    from anogen.run import Run

    run, allow_code = Run.open(options["run"]), options["allow_code"]
    if options["fpr"] is None:
        options["fpr"] = run.false_positive_rate
    before = run.read_json("detection.json")  # damage is to be known before the work
    model = run.load_model(options["checkpoint"], allow_code=allow_code)
    usual = [FUSED, *(name for name in ("squared_error",) if SCORES[name].fits(model))]
    names = options["score"] or usual
    companions = [Run.open(p).load_model(allow_code=allow_code) for p in options["companion"]]
    if "all" in names:
        cheap = [name for name in available(model, companions) if SCORES[name].passes <= MAX_PASSES]
        names = [name for name in names if name != "all"] + cheap
    data = run.load_data(options["data_dir"])
    sets = [run.load_other(name, options["data_dir"]) for name in options["out"]]
    if len({images.name for images in sets}) < len(sets):
        sets = [replace(images, name=name)
                for images, name in zip(sets, options["out"], strict=True)]  # fmt: skip
    if not sets:
        if data.anomalies is None:
            raise UsageError("--out is missing: the name or path of an out-of-distribution set")
        sets = [data.anomalies]
    judged = judge(model, data, sets, scores=list(dict.fromkeys(names)),
                     false_positive_rate=options["fpr"], device=options["device"],
                     companions=companions)  # fmt: skip
    rows = [each.row(data.name) for each in judged]
    made_for = {each.detector.name: each.detector for each in judged}
    result = {"run": run.shown, "fpr": options["fpr"], **_rows(rows)}
    if not run.is_writable:
        say(f"{run.path} cannot be written; the numbers, the detector and the page are not kept")
        return result
    kept = [FUSED] if "all" in (options["score"] or []) else list(made_for)
    for name in kept:
        made_for[name].save(run.detector(name))
    weights = judged[0].detector.weights_sha256
    of = {"weights_sha256": weights, "definitions": DEFINITIONS}
    same = all(before.get(key) == value for key, value in of.items())
    old_rows, old_calls = (before.get(key, []) if same else [] for key in ("rows", "calls"))
    new, call = {(row["out_set"], row["score"]) for row in rows}, _call(options)
    anomalies: list[dict[str, Any]] = []
    if data.table is not None and data.judged is not None:
        first = replace(judged[0].detector, columns=data.columns)
        anomalies = [asdict(each) for each in most_anomalous(first, data.table, data.judged)]
    run.write_json("detection.json", {
        **of,
        "anomalies": anomalies,
        "anomalies_score": judged[0].detector.name,
        "checkpoint": options["checkpoint"],
        "checkpoint_epoch": run.epoch_of(options["checkpoint"]),
        "calls": [*(old for old in old_calls if old != call), call],
        **_rows([*(r for r in old_rows if (r["out_set"], r["score"]) not in new), *rows]),
    })  # fmt: skip
    with stage("drawing figures"):
        old_pictures = kept_pictures(run.figures, "detection") if same else []
        pictures = detection_pictures(judged, data.test, sets)
        keep_pictures(pictures, run.figures, "detection", old_pictures)
        write_page(run)
    return result


def _rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("in_set", "out_set", "score", *TABLE_2)
    return {"rows": rows, "table2": [{key: row[key] for key in keys} for row in rows]}


def _call(options: dict[str, Any]) -> str:
    """The options that make the same rows again."""
    parts = [("out", name) for name in options["out"]]
    parts += [("score", name) for name in options["score"] or ()]
    parts += [("companion", path) for path in options["companion"]]
    parts += [(key, options[key]) for key in ("fpr", "checkpoint") if options[key] is not None]
    return shlex.join(word for key, value in parts for word in (f"--{key}", f"{value}"))


def _text(result: dict[str, Any]) -> str:
    head = ["out set", "score"]
    measures = [[*head, *SHOWN]]
    decisions = [[*head, *TABLE_2, "flagged in", "promised"]]
    for row in result["rows"]:
        start = [row["out_set"], row["score"]]
        measures.append([*start, *(f"{row[name]:.4f}" for name in SHOWN)])
        low, high = row["false_positive_rate_low"], row["false_positive_rate_high"]
        kept = [f"{row['false_positive_rate']:.4f}", f"{low:.4f} to {high:.4f}"]
        decisions.append([*start, *(f"{row[name]:.3f}" for name in TABLE_2), *kept])
    return (
        f"{table(measures)}\n\nTable 2 of the paper, at a false-positive rate of "
        f"{result['fpr']:g} set on held-out data (0 = in, 1 = out):\n{table(decisions)}\n\n"
        f"report: {result['run']}/report.html, numbers: {result['run']}/detection.json"
    )
