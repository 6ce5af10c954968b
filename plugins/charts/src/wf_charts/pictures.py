"""Charts as SVG or PNG files, drawn by matplotlib without a display or global state."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator
from matplotlib.typing import RcKeyType

from wf.errors import SaveError
from wf_charts.charts import (
    Chart,
    Intervals,
    Lines,
    Matrix,
    Panels,
    Sample,
    Samples,
    Series,
    legend,
    shortened,
    thinned,
)
from wf_storage import files
from wf_storage.files import write_atomically

FORMATS: tuple[str, ...] = ("svg", "png")
COLOURS = {"train": "#0072B2", "validation": "#D55E00", "test": "#009E73", "predictions": "#111111"}
"""The colours of roles, from the colour-blind safe palette of Okabe and Ito (2008)."""
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C510A")
"""The colours of series without a role, in order."""
_MARKERS = {"train": "o", "validation": "s", "test": "D"}
_SIZES = {"train": 6, "validation": 9, "test": 11}
"""Markers of single points, hollow because they often overlap."""
_GRID = "#D9D9D9"
_MAX_POINTS = 1000
_MAX_MARKED = 25
_ANNOTATED = 15
"""Matrices up to this size have a number in each cell."""

_STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "wf",  # the same figure gives the same bytes
    "svg.fonttype": "none",  # keeps text searchable and accessible
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.parse_math": False,  # class names may contain a $
}


class _Plain(LogFormatter):
    """Numbers on a logarithmic axis as 1000 and 1e+10, where matplotlib's own are formulas."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def save(chart: Chart, folder: Path, format: str = "svg") -> Path:
    """Write a chart to ``FOLDER/NAME.FORMAT``; the same chart gives the same bytes.

    Raises:
        SaveError: If it cannot be written.
    """
    path = folder / f"{chart.name}.{format}"
    picture = as_bytes(chart, format)
    try:
        files.make_own_folder(folder)
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror}") from error
    write_atomically(path, picture)
    return path


def as_bytes(chart: Chart, format: str = "svg") -> bytes:
    """A chart as the contents of an SVG or PNG file."""
    metadata: dict[str, Any] = {"Creator": "wf", "Date": None} if format == "svg" else {"Software": "wf"}
    picture = io.BytesIO()
    with rc_context(_STYLE):
        as_figure(chart).savefig(picture, format=format, metadata=metadata, dpi=150)
    return picture.getvalue()


@singledispatch
def as_figure(chart: Any) -> Figure:
    """A chart as a figure of matplotlib."""
    raise TypeError(f"{type(chart).__name__} is not a chart of wf_charts")


@as_figure.register
def _of_lines(chart: Lines) -> Figure:
    figure = _figure(1, 1)
    _draw_lines(figure.subplots(), chart)
    return figure


@as_figure.register
def _of_panels(chart: Panels) -> Figure:
    return _grid(chart.panels, _draw_lines)


@as_figure.register
def _of_matrix(chart: Matrix) -> Figure:
    longest = max(map(len, (*chart.rows, *chart.columns)), default=1)
    side = max(4.4, 0.5 * len(chart.rows) + 0.08 * min(longest, 24) + 2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = chart.shares()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    rows, columns = ([shortened(name) for name in names] for names in (chart.rows, chart.columns))
    axes.set_xticks(range(len(columns)), columns, rotation=45 if _are_long(columns) else 0, rotation_mode="xtick")
    axes.set_yticks(range(len(rows)), rows)
    if len(chart.rows) <= _ANNOTATED:
        for row, counts in enumerate(chart.counts):
            for column, count in enumerate(counts):
                colour = "white" if shares[row][column] > 0.5 else "#222222"
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9}
                axes.text(column, row, str(count), color=colour, **style)
    figure.colorbar(image, ax=axes, label=f"share of the {chart.row_label} class", shrink=0.8)
    figure.suptitle(chart.title, x=0.02, ha="left", weight="bold")
    axes.set_xlabel(chart.column_label)
    axes.set_ylabel(chart.row_label)
    return figure


@as_figure.register
def _of_intervals(chart: Intervals) -> Figure:
    figure = Figure(figsize=(7.2, 1.6 + 0.4 * len(chart.rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(chart.rows):
        colour = CYCLE[0]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], "-", color=colour, lw=2)
        axes.plot([row.mean], [place], "o", color=colour, ms=6)
    if chart.reference is not None:
        axes.axvline(chart.reference, color="#555555", ls=":", lw=1.2)
    axes.set_yticks(range(len(chart.rows)), [shortened(row.name, 40) for row in chart.rows])
    axes.set_ylim(len(chart.rows) - 0.5, -0.5)
    _decorate(axes, chart.title, chart.x_label, "")
    return figure


@as_figure.register
def _of_samples(chart: Samples) -> Figure:
    is_wide = any(_is_wide(sample) for sample in chart.samples)
    columns, size = (2, (4.8, 2.2)) if is_wide else (4, (2.4, 2.9))
    figure = _grid(chart.samples, _draw_sample, columns, size)
    figure.suptitle(chart.title, x=0.01, ha="left", weight="bold")
    return figure


def _grid(
    items: Sequence[Any], draw: Callable[[Axes, Any], None], columns: int = 2, size: tuple[float, float] | None = None
) -> Figure:
    """A figure with one pair of axes per item."""
    columns = max(1, min(len(items), columns))
    rows = max(1, math.ceil(len(items) / columns))
    figure = (
        Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained") if size else _figure(rows, columns)
    )
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, item in zip(grid, items, strict=False):
        draw(axes, item)
    for axes in grid[len(items) :]:
        axes.set_axis_off()
    return figure


def _figure(rows: int, columns: int) -> Figure:
    width = 7.2 if columns == 1 else 5.2 * columns
    height = 4.4 if rows == columns == 1 else 3.4 * rows
    return Figure(figsize=(width, height), layout="constrained")


def _draw_lines(axes: Axes, chart: Lines) -> None:
    for series, (place, label) in zip(chart.series, legend(chart.series), strict=True):
        _draw_series(axes, series, CYCLE[place % len(CYCLE)], label)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    for axis, is_log in ((axes.xaxis, chart.log_x), (axes.yaxis, chart.log_y)):
        if is_log:
            axis.set_major_formatter(_Plain())
            axis.set_minor_formatter(_Plain(minor_thresholds=(1, 0.4)))
    if chart.x_range is not None:
        axes.set_xlim(*_with_room(chart.x_range))
    if chart.y_range is not None:
        axes.set_ylim(*_with_room(chart.y_range))
    if chart.x_label in ("epochs", "updates"):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    _decorate(axes, chart.title, chart.x_label, chart.y_label)


def _with_room(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits with room for marks at the upper end."""
    low, high = limits
    return low, high + 0.02 * (high - low)


def _draw_series(axes: Axes, series: Series, colour: str, label: str) -> None:
    whole, series = series, thinned(series, _MAX_POINTS if series.mark == "points" else 8 * _MAX_POINTS)
    part = math.ceil(len(whole.x) / _MAX_POINTS) if series.mark == "points" else 1
    label = f"{label} (1 in {part})" if part > 1 and label else label
    marker, few = _MARKERS.get(series.role, "o"), len(series.x) <= _MAX_MARKED
    style: dict[str, Any] = {"color": COLOURS.get(series.role, colour), "label": label, "zorder": 3}
    if series.mark == "points":
        style |= {"ls": "", "marker": marker, "ms": 5 if len(series.x) <= _MAX_MARKED * 8 else 3.5}
        style |= {"mew": 0, "alpha": 0.7, "zorder": 2}
    elif series.mark == "reference":
        style |= {"color": "#555555", "ls": ":", "lw": 1.2, "zorder": 1}
    elif len(series.x) == 1:
        style |= {"ls": "", "marker": marker, "ms": _SIZES.get(series.role, 9), "mfc": "none", "mew": 2}
    elif series.mark == "thin":
        style |= {"alpha": 0.35, "lw": 1.0}
    else:
        lined = series.role != "predictions" and few
        style |= {"ls": "--" if series.mark == "dashed" else "-", "lw": 1.8, "marker": marker if lined else ""}
        style |= {"ms": 4.5}
    axes.plot(series.x, series.y, gid=series.name.replace(" ", "-"), **style)


def _is_wide(sample: Sample) -> bool:
    """Whether a picture is much wider than high."""
    if sample.picture is None:
        return False
    width, height = (int.from_bytes(sample.picture[place : place + 4]) for place in (16, 20))  # of a PNG's header
    return width > 1.5 * height


def _draw_sample(axes: Axes, sample: Sample) -> None:
    if sample.picture is not None:
        from matplotlib.image import imread

        axes.imshow(imread(io.BytesIO(sample.picture), format="png"), cmap="gray", interpolation="nearest")
    else:
        text = "\n".join(textwrap.wrap(sample.text, 24)[:8])
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(textwrap.fill(sample.caption, 28), fontsize=8, weight="normal")


def _decorate(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _are_long(names: Sequence[str]) -> bool:
    return max(map(len, names), default=0) * len(names) > 40
