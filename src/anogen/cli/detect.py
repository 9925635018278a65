"""`anogen detect`: a run as a calibrated detector, judged against sets from elsewhere."""

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser, print_result, table
from anogen.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anogen.data.images import Images
    from anogen.data.splits import Splits
    from anogen.run import Run

DESCRIPTION = """Calibrate on held-out images of the run's own data, then judge its test images
against sets from elsewhere; prints the paper's Table 2 and every measure.

  anogen detect runs/vae --out fashion-mnist
  anogen detect runs/vae --out fashion-mnist --out mnist+blur --score all --fpr 0.05
  anogen detect runs/vae --out my/pictures --json
  anogen detect runs/parts                      every kind of defect in MVTec AD's layout

A set is the name of a data set or a path, with a transformation after + if you like. Nothing of
the sets from elsewhere is used to fit or to calibrate. A set without a part for testing, of ten
images or more, is judged whole, unless it is the run's own data, transformed. The run's page and
detection.json keep what was detected before with the same weights."""

MAX_PASSES = 100
"""A score with more passes through the networks than this is computed where it is named only."""
SHOWN = ("auroc", "aupr_out", "aupr_in", "fpr_at_95_tpr", "tpr_at_1_fpr", "tpr_at_5_fpr")
PLACES = ("pixel_auroc", "aupro")
TABLE_2 = tuple(f"{name}_{label}" for label in (0, 1) for name in ("precision", "recall", "f1"))


def main(arguments: list[str]) -> int:
    """Detect; prints tables, or with --json one object with `rows` and `table2`."""
    parser = new_parser("detect", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", action="append", default=[], help="an out-of-distribution set; "
                        "may be given several times (default: the labelled anomalies of a "
                        "table, the kinds of defects in MVTec AD's layout)"
                        )  # fmt: skip
    parser.add_argument("--masks", help="a folder of masks that say where the defects of --out are "
                        "(default: ground_truth in MVTec AD's layout)")  # fmt: skip
    parser.add_argument("--score", action="append", help="a score's name, or all: those that "
                        f"cost at most {MAX_PASSES} passes and train no net; may be given several "
                        "times (default: the usual one, fused or, of pictures of 48x48 "
                        "or more, local_gaussian_learnt; and squared_error)")  # fmt: skip
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
    from anogen.detection.calibration import promised
    from anogen.detection.detector import DEFINITIONS
    from anogen.detection.judge import judge
    from anogen.detection.parts import ALL, Places, place_pictures
    from anogen.detection.pictures import detection_pictures
    from anogen.detection.refresh import approved, with_approved
    from anogen.detection.scores import SCORES, available, usual_score
    from anogen.detection.table_files import most_anomalous
    from anogen.progress import say, stage
    from anogen.report.gallery import keep_pictures, kept_pictures
    from anogen.report.page import write_page
    from anogen.run import Run

    run, allow_code = Run.open(options["run"]), options["allow_code"]
    before = run.read_json("detection.json")  # damage is to be known before the work
    model = run.load_model(options["checkpoint"], allow_code=allow_code)
    own = usual_score(model.shape)
    usual = [own, *(name for name in ("squared_error",) if SCORES[name].fits(model))]
    names = options["score"] or usual
    companions = [Run.open(p).load_model(allow_code=allow_code) for p in options["companion"]]
    if "all" in names:
        cheap = [
            name
            for name in available(model, companions)
            if SCORES[name].passes <= MAX_PASSES and not SCORES[name].trains
        ]
        names = [name for name in names if name != "all"] + cheap
    data = with_approved(run.load_data(options["data_dir"]), approved(run))
    options["fpr"] = promised(options["fpr"], run.false_positive_rate, len(data.validation))
    sets, masks = _sets(run, data, options)
    judged = judge(model, data, sets, scores=list(dict.fromkeys(names)),
                     false_positive_rate=options["fpr"], device=options["device"],
                     companions=companions)  # fmt: skip
    rows = [each.row(data.name) for each in judged]
    first = [each for each in judged if each.detector is judged[0].detector]
    places = Places.of(judged[0].detector, data.validation, data.test, sets, options["fpr"])
    if places is not None:
        for row, each in zip(rows, judged, strict=True):
            if each in first and each.out_set in masks:
                row.update(places.row(each.out_set, masks[each.out_set]))
    made_for = {each.detector.name: each.detector for each in judged}
    result = {"run": run.shown, "fpr": options["fpr"], **_rows(rows)}
    if not run.is_writable:
        say(f"{run.path} cannot be written; the numbers, the detector and the page are not kept")
        return result
    kept = [own] if "all" in (options["score"] or []) else list(made_for)
    for name in kept:
        made_for[name].save(run.detector(name))
    weights = judged[0].detector.weights_sha256
    of = {"weights_sha256": weights, "definitions": DEFINITIONS}
    same = all(before.get(key) == value for key, value in of.items())
    old_rows, old_calls = (before.get(key, []) if same else [] for key in ("rows", "calls"))
    new, call = {(row["out_set"], row["score"]) for row in rows}, _call(options)
    anomalies: list[dict[str, Any]] = []
    if data.table is not None and data.judged is not None:
        of_rows = replace(judged[0].detector, columns=data.columns)
        anomalies = [asdict(each) for each in most_anomalous(of_rows, data.table, data.judged)]
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
        kinds = [images for images in sets if images.name != ALL]
        of_kinds = [each for each in judged if each.out_set != ALL]
        pictures = detection_pictures(of_kinds, data.test, kinds)
        if places is not None:
            pictures += place_pictures(places, first, data.test, sets, masks, data.train)
        keep_pictures(pictures, run.figures, "detection", old_pictures)
        write_page(run)
    return result


def _sets(
    run: "Run", data: "Splits", options: dict[str, Any]
) -> "tuple[list[Images], dict[str, NDArray[np.bool_]]]":
    """The sets from elsewhere, and the masks of those that have any."""
    from anogen.data.catalog import base_of
    from anogen.data.masks import kinds_of_defects, read_plain
    from anogen.detection.parts import ALL, masks_for, together

    names: list[str] = options["out"]
    kinds = kinds_of_defects(Path(base_of(run.config["data"]))) if run.config["data"] else []
    if not names and data.anomalies is not None:
        return [data.anomalies], {}
    names = names or [str(path) for path in kinds]
    if not names:
        raise UsageError("--out is missing: the name or path of an out-of-distribution set")
    given = None if options["masks"] is None else Path(options["masks"])
    found = {
        name: masks_for(Path(name), given, run.pictures) for name in names if Path(name).is_dir()
    }
    if given is not None and not found:
        raise UsageError("--masks belongs to a folder of pictures: give it as --out")
    sets: list[Images] = []
    for name in names:
        masked = found.get(name)
        if masked is not None:
            sets.append(masked.images)
        elif Path(name).resolve() in kinds:
            sets.append(read_plain(Path(name), run.pictures)[0])
        else:
            sets.append(run.load_other(name, options["data_dir"]))
    if len({images.name for images in sets}) < len(sets):
        sets = [replace(images, name=name) for images, name in zip(sets, names, strict=True)]
    masks = {
        images.name: masked.masks
        for images, name in zip(sets, names, strict=True)
        if (masked := found.get(name)) is not None
    }
    if len(masks) == len(sets) > 1:
        whole = together([masked for masked in found.values() if masked is not None])
        sets, masks = [*sets, whole.images], masks | {ALL: whole.masks}
    return sets, masks


def _rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("in_set", "out_set", "score", *TABLE_2)
    return {"rows": rows, "table2": [{key: row[key] for key in keys} for row in rows]}


def _call(options: dict[str, Any]) -> str:
    """The options that make the same rows again."""
    parts = [("out", name) for name in options["out"]]
    parts += [("score", name) for name in options["score"] or ()]
    parts += [("companion", path) for path in options["companion"]]
    parts += [
        (key, options[key]) for key in ("masks", "fpr", "checkpoint") if options[key] is not None
    ]
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
    located = [["out set", "score", *PLACES]]
    located += [[row["out_set"], row["score"], *(f"{row[name]:.4f}" for name in PLACES)]
                for row in result["rows"] if PLACES[0] in row]  # fmt: skip
    where = f"\n\nWhere the defects are, against masks:\n{table(located)}" if located[1:] else ""
    return (
        f"{table(measures)}{where}\n\nTable 2 of the paper, at a false-positive rate of "
        f"{result['fpr']:g} set on held-out data (0 = in, 1 = out):\n{table(decisions)}\n\n"
        f"report: {result['run']}/report.html, numbers: {result['run']}/detection.json"
    )
