"""Figures from arrays: they know no model and no file format but PNG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from anogen.data.images import Pixels
from anogen.durable import replace_durably
from anogen.printable import printable

DOTS_PER_INCH = 130
GAP = 2
"""Pixels between the images of a mosaic, before scaling."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00",
           "#56B4E9", "#B8A90F", "#6A3D9A", "#000000", "#8C564B")  # fmt: skip
"""Distinct for colour-blind readers; the first six after Okabe & Ito 2008."""
MARKERS = "os^vDP*X<>"


def mosaic(images: Pixels, scale: int = 2, labels: Sequence[str] = ()) -> Figure:
    """Images in rows, pixel by pixel.

    Args:
        images: uint8 `[rows, columns, c, h, w]`; of 2 or 4 channels, the mean.
        scale: screen pixels per pixel.
        labels: what stands at the left of each row, in one line or several.
    """
    if images.shape[2] not in (1, 3):
        images = images.mean(2, keepdims=True).astype(np.uint8)
    rows, columns, channels, height, width = images.shape
    cell = (height + GAP, width + GAP)
    sheet = np.full((rows * cell[0] + GAP, columns * cell[1] + GAP, channels), 128, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * cell[0] + GAP, column * cell[1] + GAP
            picture = images[row, column].transpose(1, 2, 0)
            sheet[top : top + height, left : left + width] = picture
    sheet = np.repeat(np.repeat(sheet, scale, 0), scale, 1)
    lengths = [len(line) for label in labels for line in label.splitlines()]
    margin = max([110, *(8 * length + 16 for length in lengths)]) if labels else 0
    figure = Figure(
        ((sheet.shape[1] + margin) / DOTS_PER_INCH, sheet.shape[0] / DOTS_PER_INCH), DOTS_PER_INCH
    )
    total = sheet.shape[1] + margin
    axes = figure.add_axes((margin / total, 0, sheet.shape[1] / total, 1))
    axes.imshow(sheet.repeat(3 // channels, 2), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for row, label in enumerate(labels):
        middle = ((row + 0.5) * cell[0] + GAP / 2) * scale
        axes.text(-8, middle, plain(label), ha="right", va="center", fontsize=7)
    return figure


def overlays(
    images: Pixels,
    maps: NDArray[np.float64],
    masks: NDArray[np.bool_] | None,
    threshold: float,
    titles: Sequence[str],
    columns: int = 6,
) -> Figure:
    """Pictures, and below each its map over it, with a line around what exceeds a threshold.

    Args:
        images: uint8 `[n, c, h, w]`.
        maps: `[n, h, w]`; shown from the threshold's half to twice the threshold.
        masks: bool `[n, h, w]`, outlined on the pictures, or None.
        threshold: of the line.
        titles: one for each picture.
        columns: pictures side by side.
    """
    wide, rows = min(columns, len(images)), -(-len(images) // columns)
    tall = images.shape[2] / images.shape[3]
    figure = Figure((1.55 * wide, rows * (3.1 * tall + 0.28)), DOTS_PER_INCH, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, hspace=0.01, wspace=0.01)  # pyright: ignore
    grid: Any = figure.subplots(2 * rows, wide, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (image, values, title) in enumerate(zip(images, maps, titles, strict=True)):
        above, below = grid[2 * (index // wide) : 2 * (index // wide) + 2, index % wide]
        plain_picture = image.transpose(1, 2, 0).repeat(3 // len(image), 2)
        for axes in (above, below):
            axes.imshow(plain_picture, interpolation="bilinear")
        above.set_title(plain(title), fontsize=6, pad=2)
        if masks is not None and masks[index].any():
            above.contour(masks[index], [0.5], colors=COLOURS[2], linewidths=0.9)
        below.imshow(values, cmap="inferno", vmin=threshold / 2, vmax=2 * threshold, alpha=0.55)
        if values.max() > threshold > values.min():
            below.contour(values, [threshold], colors="white", linewidths=0.9)
    return figure


def curves(rows: Sequence[dict[str, Any]], lines: dict[str, str], title: str, label: str) -> Figure:
    """Values of `metrics.jsonl` against epochs; `lines` maps a column to its name."""
    figure = Figure((6, 3.6), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    styles = ("-", "--", ":")
    for (column, name), colour, style in zip(lines.items(), COLOURS, styles, strict=False):
        values = [row.get(column, np.nan) for row in rows]
        marker = "o" if len(rows) < 3 else None
        axes.plot(epochs, values, style, color=colour, label=plain(name), lw=1.6, marker=marker)
    axes.set(xlabel="epoch", ylabel=label, title=plain(title))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def over_time(
    at: Sequence[float],
    marks: Sequence[float],
    above: tuple[str, Sequence[float], float, str],
    below: tuple[str, Sequence[float], float, str],
    axis: str,
) -> Figure:
    """Two quantities one above the other over the same axis, each with a level.

    Args:
        at: where the points are.
        marks: places that both have a line at.
        above: what the upper one is called, its values, its level, and what that is called.
        below: likewise.
        axis: what the common axis is called.
    """
    figure = Figure((7.5, 4.6), DOTS_PER_INCH, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, (label, values, level, name) in ((upper, above), (lower, below)):
        axes.plot(at, values, color=COLOURS[0], lw=1.6, marker="o" if len(at) < 3 else None)
        axes.axhline(level, color=COLOURS[4], ls="--", lw=1.2, label=plain(name))
        for mark in marks:
            axes.axvline(mark, color=COLOURS[4], lw=0.8, alpha=0.5)
        axes.set_ylabel(plain(label), fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper left")
    lower.set(xlabel=axis)
    lower.set_ylim(bottom=0)
    return figure


def scatter(
    points: NDArray[Any],
    labels: NDArray[Any] | None,
    classes: Sequence[str],
    title: str,
    axis_names: tuple[str, str],
) -> Figure:
    """Points `[n, 2]` in the plane, coloured and shaped by label."""
    figure = Figure((6.2, 5), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    if labels is None:
        axes.scatter(*points.T, s=5, color=COLOURS[0], alpha=0.6, linewidths=0)
    else:
        for label in range(len(classes)):
            of_label = points[labels == label]
            axes.scatter(
                *of_label.T, s=9, alpha=0.7, linewidths=0, label=plain(classes[label]),
                color=COLOURS[label % 10], marker=MARKERS[label % 10],
            )  # fmt: skip
        if len(classes) <= 30:
            figure.legend(loc="outside right upper", markerscale=2, fontsize=8)
    axes.set(title=plain(title), xlabel=axis_names[0], ylabel=axis_names[1])
    axes.grid(alpha=0.3)
    return figure


def bars(values: Sequence[float], title: str, label: str, axis: str) -> Figure:
    """One bar per value, in descending order."""
    figure = Figure((6, 2.8), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(1, len(values) + 1), sorted(values, reverse=True), color=COLOURS[0])
    axes.set(title=plain(title), xlabel=axis, ylabel=label)
    axes.grid(alpha=0.3, axis="y")
    return figure


def dots(
    names: Sequence[str],
    values: Sequence[tuple[float, float | None, float | None]],
    floor: float,
    title: str,
    label: str,
) -> Figure:
    """Per name a mean and the ends of its interval, if any, on a logarithmic axis."""
    figure = Figure((6, 1.4 + 0.35 * len(names)), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    for row, (mean, low, high) in enumerate(values):
        if low is not None and high is not None:
            axes.plot([max(low, mean / 100), high], [row, row], color=COLOURS[0], lw=2)
        axes.plot(mean, row, "o", color=COLOURS[0])
        axes.annotate(f"{mean:.3g}", (mean, row), (0, 6), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    axes.axvline(floor, color=COLOURS[4], ls="--", label="real images")
    axes.set(title=plain(title), xlabel=label, xscale="log", ylim=(len(names) - 0.4, -0.7))
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.grid(alpha=0.3, axis="x")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def histograms(values: dict[str, NDArray[Any]], threshold: float, title: str, label: str) -> Figure:
    """Distributions in one panel, each adding up to one.

    The axis is that of the values near the threshold and logarithmic far from it.
    """
    figure = Figure((6, 3.4), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    pooled = np.concatenate(list(values.values()))
    first = next(iter(values.values()))
    unit = max(float(np.quantile(first, 0.75) - np.quantile(first, 0.25)), 1e-9)
    ends = np.arcsinh((np.array([pooled.min(), pooled.max()]) - threshold) / unit)
    edges: list[float] = np.linspace(ends[0], max(ends[1], ends[0] + 1e-9), 80).tolist()
    for (name, part), colour in zip(values.items(), COLOURS, strict=False):
        placed = np.arcsinh((part - threshold) / unit)
        weights = np.full(len(part), 1 / len(part))
        axes.hist(placed, edges, weights=weights, histtype="stepfilled", alpha=0.35, color=colour,
                  label=plain(name))  # fmt: skip
        axes.hist(placed, edges, weights=weights, histtype="step", color=colour)
    axes.axvline(0, color="#000000", ls="--", lw=1, label="threshold")
    even = threshold + unit * np.sinh(np.linspace(edges[0], edges[-1], 8))
    ticks = sorted({float(f"{value:.2g}") for value in even})
    shown = [tick for tick in ticks if pooled.min() <= tick <= pooled.max()]
    labels = [f"{tick:,.0f}" if abs(tick) >= 10 else f"{tick:g}" for tick in shown]
    axes.set_xticks(np.arcsinh((np.array(shown) - threshold) / unit).tolist(), labels)
    axes.set_xlim(edges[0], edges[-1])
    axes.set(title=plain(title), xlabel=f"{label} (narrowed far from the threshold)",
             ylabel="share of images")  # fmt: skip
    axes.legend(fontsize=8)
    return figure


def operating_curves(curves: dict[str, tuple[NDArray[Any], NDArray[Any]]], title: str) -> Figure:
    """True- against false-positive rate, the latter logarithmic from 0.1 % on."""
    figure = Figure((6.4, 4), DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", ":", "-.")
    for index, (name, (false, true)) in enumerate(curves.items()):
        axes.plot(
            false.clip(1e-3), true, styles[index % 4], color=COLOURS[index % 10], label=plain(name)
        )
    axes.set(title=plain(title), xlabel="false-positive rate", ylabel="true-positive rate",
             xscale="log", xlim=(1e-3, 1), ylim=(0, 1.01))  # fmt: skip
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def plain(text: str) -> str:
    r"""Text of any origin for a figure: nothing hidden in it, and no formula.

    >>> print(plain("a$x$"))
    a\$x\$
    """
    return printable(text, keep="\n").replace("$", r"\$")


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically."""
    replace_durably(path, to_png(figure))
