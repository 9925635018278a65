"""What a watch has seen, as a page."""

from pathlib import Path
from typing import Any

from anogen.detection.watch import Point
from anogen.durable import replace_durably
from anogen.report.figures import over_time, to_png
from anogen.report.gallery import data_uri
from anogen.report.page import render
from anogen.run import Run

PAGE = "watch.html"


def write_watch_page(run: Run, result: dict[str, Any]) -> Path:
    """Write the page into the run's folder; returns its path.

    Args:
        run: that the watch is over.
        result: what `anogen watch` prints as JSON: `score`, `calibrated_on`, and of each of
            `streams` its name and `Watch.summary`.
    """
    streams = [
        {**stream, "name": stream["stream"], "picture": _picture(stream)}
        for stream in result["streams"]
    ]
    html = render(
        "watch.html.j2", name=run.name, score=result["score"],
        calibrated_on=result["calibrated_on"], streams=streams,
        level=streams[0]["level"] if streams else 0.01,
    )  # fmt: skip
    path = run.inside(PAGE)
    replace_durably(path, html.encode())
    return path


def _picture(stream: dict[str, Any]) -> str:
    history = [Point(**point) for point in stream["history"]]
    if len(history) < 2:
        return ""
    at = [point.at for point in history]
    alarms = [alarm["at"] for alarm in stream["alarms"]]
    figure = over_time(
        at, alarms,
        ("evidence of change (log₁₀)", [p.log10_capital for p in history],
         stream["log10_limit"], "an alarm"),
        ("share flagged", [p.flagged for p in history], stream["calling"]["promised"],
         "promised"),
        "examples",
    )  # fmt: skip
    return data_uri(to_png(figure))
