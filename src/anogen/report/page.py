"""The page of one run: a single HTML file that needs nothing else."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from anogen.durable import replace_durably
from anogen.errors import AnogenError, MachineError, UsageError, first_line
from anogen.evaluation.measures import MEASURES
from anogen.evaluation.translation import shown
from anogen.printable import printable
from anogen.report.gallery import kept_pictures
from anogen.report.paper import TABLE_1
from anogen.run import Run


@dataclass(frozen=True)
class ResultRow:
    """A line of the table of results."""

    key: str
    name: str
    value: str
    interval: str
    meaning: str


TILES = ("squared_error", "cosine_similarity", "elbo_nats", "kl_nats")
"""What stands large at the top of the page."""


def write_page(run: Run) -> Path:
    """Write `report.html` into the run's folder, of all that was measured of it; returns its path.

    Raises:
        UsageError: nothing was measured yet.
    """
    result, detection = run.read_json("evaluation.json"), run.read_json("detection.json")
    if not result and not detection:
        raise UsageError(f"{run.path}: nothing was measured yet; run anogen evaluate {run.path}")
    try:
        html = _html(run, result, detection)
    except AnogenError:
        raise
    except (
        jinja2.TemplateError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError
    ) as error:  # fmt: skip
        raise MachineError(
            f"{run.path}: one of evaluation.json, detection.json, environment.json and "
            f"metrics.jsonl holds what no page can show ({first_line(error)}); anogen evaluate and "
            "anogen detect write the first two again"
        ) from error
    path = run.inside("report.html")
    replace_durably(path, html.encode())
    return path


def _html(run: Run, result: dict[str, Any], detection: dict[str, Any]) -> str:
    pictures = [*kept_pictures(run.figures, "evaluation"), *kept_pictures(run.figures, "detection")]
    return render(
        "page.html.j2",
        run=run,
        config=run.config,
        environment=run.environment,
        last=run.metrics[-1] if run.metrics else {},
        rows=result_rows(result),
        translations=[shown(row) for row in result.get("translations", [])],
        tiles=TILES,
        result=result,
        detection=detection,
        columns=run.columns,
        things="images" if run.columns is None else "rows",
        stale=[
            what
            for what, kept in (("results", result), ("detector", detection))
            if _is_stale(run, kept)
        ],
        paper=_paper_row(run, result),
        pictures=pictures,
    )


def _is_stale(run: Run, kept: dict[str, Any]) -> bool:
    """Whether the checkpoint from which something was measured has been replaced since."""
    try:
        return "checkpoint_epoch" in kept and (
            kept["checkpoint_epoch"] < run.epoch_of(kept.get("checkpoint"))
        )
    except MachineError:
        return False


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in; everything in it is escaped.

    So are characters that would hide something or turn the direction of writing.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anogen.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    return environment.get_template(template).render(version=version("anogen"), **values)


def _shown(value: Any) -> Any:
    return printable(value, keep="\n") if type(value) is str else value


def result_rows(result: dict[str, Any]) -> list[ResultRow]:
    """The results as text for people."""
    return [
        ResultRow(
            key,
            measure.title,
            f"{result[key]:#.4g}",
            _interval(result, key),
            measure.meaning,
        )
        for key, measure in MEASURES.items()
        if key in result
    ]


def _interval(result: dict[str, Any], key: str) -> str:
    """The interval over images, or what real images have in the place of samples."""
    low, high, floor = (result.get(f"{key}_{end}") for end in ("low", "high", "floor"))
    if floor is not None:
        return f"real images: {floor:#.4g}"
    return "" if low is None or high is None else f"{low:#.4g} to {high:#.4g}"


def _paper_row(run: Run, result: dict[str, Any]) -> dict[str, Any] | None:
    """The paper's Table 1 beside ours, where both are about the same thing."""
    model = run.config["model"]["class_path"]
    if not result or run.environment["data"]["name"] != "mnist" or model not in TABLE_1:
        return None
    loss, similarity = TABLE_1[model]
    return {
        "model": model,
        "loss": loss,
        "similarity": similarity,
        "epoch": result.get("checkpoint_epoch", result.get("epoch")),
    }
