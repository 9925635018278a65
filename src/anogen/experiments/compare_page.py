"""A comparison as a table for the terminal, and as one page with pictures side by side."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anogen.data.batches import to_bytes, to_unit
from anogen.durable import make_folder, replace_durably
from anogen.errors import finite_numbers
from anogen.evaluation.generation import sample_images
from anogen.evaluation.measures import MEASURES
from anogen.experiments.compare import Comparison, Kind
from anogen.models.base import Encodes, Reconstructs, generative
from anogen.models.conditions import conditions_for
from anogen.models.sampling import make_sampler
from anogen.report import figures
from anogen.report.gallery import Picture
from anogen.report.page import render

COLUMNS = 12


@dataclass(frozen=True)
class Cell:
    """One kind's value of one measure, as text."""

    value: str
    interval: str
    best: bool


@dataclass(frozen=True)
class ComparisonRow:
    """One measure of every kind."""

    key: str
    name: str
    meaning: str
    cells: tuple[Cell, ...]
    floor: str


def rows(comparison: Comparison) -> list[ComparisonRow]:
    """The table of a comparison, as text for people."""
    table: list[ComparisonRow] = []
    for measure in comparison.measures:
        title, meaning = MEASURES[measure].title, MEASURES[measure].meaning
        best = comparison.best(measure)
        cells = tuple(_cell(kind, measure, kind is best) for kind in comparison.kinds)
        floor = comparison.floors.get(measure)
        table.append(
            ComparisonRow(measure, title, meaning, cells, "" if floor is None else f"{floor:.4g}")
        )
    return table


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write `comparison.json`, `comparison.html` and PNGs; returns the page's path."""
    make_folder(folder)
    finite_numbers(comparison.as_json(), "the results")
    pictures = comparison_pictures(comparison)
    for drawn in pictures:
        figures.save(drawn.figure, folder / f"{drawn.name}.png")
    text = json.dumps(comparison.as_json(), indent=1, allow_nan=False) + "\n"
    replace_durably(folder / "comparison.json", text.encode())
    table = rows(comparison)
    html = render(
        "comparison.html.j2",
        kinds=comparison.kinds,
        data=comparison.data.name,
        images=len(comparison.data.test),
        settings=comparison.settings,
        extractor=comparison.extractor,
        rows=table,
        any_interval=any(cell.interval for row in table for cell in row.cells),
        pictures=pictures,
    )
    page = folder / "comparison.html"
    replace_durably(page, html.encode())
    return page


def comparison_pictures(comparison: Comparison) -> list[Picture]:
    """Samples and reconstructions of all kinds, one row each; distances as bars."""
    drawn = [_samples(comparison), _reconstructions(comparison), _distances(comparison)]
    return [picture for picture in drawn if picture is not None]


def _samples(comparison: Comparison) -> Picture:
    real = comparison.data.test
    rng = np.random.default_rng(comparison.settings["seed"])
    sheet = [real.pixels[np.sort(rng.permutation(len(real))[:COLUMNS])]]
    for kind in comparison.kinds:
        run = kind.runs[0]
        model = generative(run.load_model(allow_code=comparison.allow_code), f"compare {run.path}")
        named = comparison.settings["sampler"] if isinstance(model, Encodes) else "prior"
        sampler = make_sampler(named, model, comparison.data.train)
        drawn = sample_images(model, len(sheet[0]), comparison.settings["seed"], sampler)
        sheet.append(drawn.pixels[:])
    return Picture(
        "samples",
        "Samples",
        "Test images in the first row, then new images of each kind; none was chosen.",
        figures.mosaic(np.stack(sheet), labels=["real", *[kind.name for kind in comparison.kinds]]),
    )


def _reconstructions(comparison: Comparison) -> Picture | None:
    test = comparison.data.test
    rng = np.random.default_rng(comparison.settings["seed"] + 1)
    originals = test[np.sort(rng.permutation(len(test))[:COLUMNS])]
    x = to_unit(torch.from_numpy(np.array(originals.pixels[:])))
    sheet, labels = [originals.pixels[:]], ["original"]
    for kind, name in zip(comparison.kinds, [kind.name for kind in comparison.kinds], strict=True):
        run = kind.runs[0]
        model = generative(run.load_model(allow_code=comparison.allow_code), f"compare {run.path}")
        if isinstance(model, Reconstructs):
            condition = conditions_for(model, originals)
            with torch.inference_mode():
                sheet.append(to_bytes(model.reconstruct(x, condition)))
            labels.append(name)
    if len(sheet) == 1:
        return None
    return Picture(
        "reconstructions",
        "Reconstructions",
        "The same test images in the first row, then what each kind makes of them.",
        figures.mosaic(np.stack(sheet), labels=labels),
    )


def _distances(comparison: Comparison) -> Picture | None:
    if "frechet_distance" not in comparison.measures:
        return None
    having = [kind for kind in comparison.kinds if "frechet_distance" in kind.values]
    values = [kind.summary("frechet_distance") for kind in having]
    figure = figures.dots(
        [kind.name for kind in having],
        values,
        comparison.floors["frechet_distance"],
        "Fréchet distance of samples from test images",
        "in the classifier's features, logarithmic; lower is better",
    )
    return Picture(
        "frechet_distance",
        "Fréchet distance",
        "Lower is better; the dashed line is what real training images have. Bars are 95 % "
        "intervals over seeds where there are several.",
        figure,
    )


def _cell(kind: Kind, measure: str, best: bool) -> Cell:
    if measure not in kind.values:
        return Cell("", "", best=False)
    mean, low, high = kind.summary(measure)
    interval = "" if low is None else f"{low:.4g} to {high:.4g}"
    return Cell(f"{mean:.4g}", interval, best)
