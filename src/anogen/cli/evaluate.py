"""`anogen evaluate`: a run → numbers, pictures and its page."""

import shlex
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser, print_result, table

if TYPE_CHECKING:
    from anogen.data.splits import Splits
    from anogen.models.base import GenerativeModel

DESCRIPTION = """Measure a run on test images; write evaluation.json, figures/ and report.html.

  anogen evaluate runs/vae
  anogen evaluate runs/vae --json
  anogen evaluate runs/vae --sampler prior               new images from the plain prior
  anogen evaluate runs/vae --data fashion-mnist --page false
  anogen evaluate runs/translator --samples 0            from each domain to each other one"""


def main(arguments: list[str]) -> int:
    """Evaluate; prints a table, or with --json one object of flat snake_case keys."""
    from anogen.evaluation.evaluate import evaluate
    from anogen.evaluation.translation import ADAPTATION_STEPS, shown

    parser = new_parser("evaluate", DESCRIPTION, "RUN")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--data", help="other images than the run's own: a name or a path")
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--page", type=bool, default=True, help="write figures and the page")
    parser.add_argument("--samples", type=int, default=10_000,
                        help="how many new images to measure; 0: none")  # fmt: skip
    parser.add_argument("--adaptation_steps", type=int, default=ADAPTATION_STEPS,
                        help="of a run that translates labelled domains: steps of the classifiers "
                        "that learn from translations; 0: none")  # fmt: skip
    parser.add_sampler()
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_allow_code()
    parser.add_function_arguments(evaluate, skip={"model", "images"})
    options = parser.parse(arguments)
    result, page = _evaluate(options)
    tables = [_lines(result), *(shown(row) for row in result.get("translations", []))]
    lines = "\n\n".join(map(table, tables))
    lines += f"\n\nreport: {page}" if page else ""
    print_result(result, options["json"], lines)
    return 0


def _evaluate(options: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    from anogen.evaluation.evaluate import evaluate
    from anogen.models.base import GenerativeModel
    from anogen.models.translator import Translator
    from anogen.progress import say, stage
    from anogen.run import Run

    run = Run.open(options["run"])
    model = run.load_model(options["checkpoint"], allow_code=options["allow_code"])
    done, wanted = len(run.metrics), run.config["epochs"]
    if done < wanted:
        say(f"{run.path}: trained for {done} of {wanted} epochs")
    data_dir = options["data_dir"]
    settings = {name: options[name] for name in list(signature(evaluate).parameters)[2:]}
    if options["data"] is not None:
        return evaluate(model, run.load_other(options["data"], data_dir), **settings), None
    data = run.load_data(data_dir)
    result = evaluate(model, data.test, **settings)
    if data.columns is None and isinstance(model, GenerativeModel):
        result |= _generation(model, data, options)
        if model.takes_text and options["samples"]:
            result |= _texts(model, data, options)
    if isinstance(model, Translator):
        from anogen.data.catalog import load_domains
        from anogen.evaluation.translation import evaluate_translation

        domains = load_domains(data)
        result["translations"] = evaluate_translation(
            model,
            data,
            domains,
            adaptation_steps=options["adaptation_steps"],
            device=options["device"],
        )
    checkpoint = options["checkpoint"]
    result |= {
        "epoch": done,
        "checkpoint": run.chosen(checkpoint),
        "checkpoint_epoch": run.epoch_of(checkpoint),
    }
    if not options["page"]:
        return result, None
    if not run.is_writable:
        say(f"{run.path} cannot be written; the numbers and the page are not kept")
        return result, None
    run.write_json("evaluation.json", result | {"call": _call(options)})
    with stage("drawing pictures"):
        from anogen.report.gallery import keep_pictures
        from anogen.report.history import samples_by_epoch, training_curves
        from anogen.report.page import write_page
        from anogen.report.pictures import all_pictures

        pictures = training_curves(run.metrics)
        if data.columns is None:  # a row is no picture
            pictures = [*pictures, *samples_by_epoch(run), *all_pictures(model.cpu(), data.test)]
        keep_pictures(pictures, run.figures, "evaluation")
        return result, write_page(run)


def _call(options: dict[str, Any]) -> str:
    """The options that make the same numbers again."""
    keys = ("checkpoint", "samples", "sampler", "seed", "importance_samples", "adaptation_steps")
    given = {key: options[key] for key in keys if options[key] is not None}
    return shlex.join(word for key, value in given.items() for word in (f"--{key}", f"{value}"))


def _generation(
    model: "GenerativeModel", data: "Splits", options: dict[str, Any]
) -> dict[str, Any]:
    from anogen.evaluation.generation import evaluate_generation
    from anogen.models.sampling import make_sampler

    if options["samples"] == 0:
        return {}
    sampler = make_sampler(options["sampler"], model, data.train)
    settings = {name: options[name] for name in ("samples", "seed", "device")}
    return evaluate_generation(model, data, sampler=sampler, **settings)


def _texts(model: "GenerativeModel", data: "Splits", options: dict[str, Any]) -> dict[str, Any]:
    from anogen.evaluation.texts import evaluate_texts
    from anogen.models.asking import Asking
    from anogen.models.sampling import make_sampler

    how = Asking(options["seed"], make_sampler(options["sampler"], model, data.train))
    return evaluate_texts(model, data, how=how, device=options["device"])


def _lines(result: dict[str, Any]) -> list[list[str]]:
    rows = [["measure", "value", "95 % interval", "real images"]]
    for name, value in result.items():
        if name.endswith(("_low", "_high", "_floor")) or isinstance(value, list):
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        low, high = result.get(f"{name}_low"), result.get(f"{name}_high")
        interval = f"{low:.4g} to {high:.4g}" if low is not None else ""
        floor = result.get(f"{name}_floor")
        rows.append([name, shown, interval, "" if floor is None else f"{floor:.4g}"])
    return rows
