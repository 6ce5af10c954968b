"""Charts as text, drawn by plotext."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

from wf_charts.charts import Chart, Intervals, Lines, Matrix, Panels, Samples, Series, in_decades, legend, thinned

HEIGHT = 16
"""Lines of a chart."""
ANSI = ("blue", "orange", "green", "magenta", "yellow", "cyan", "gray", "red")
ROLES = {"train": "blue", "validation": "orange", "test": "green", "predictions": "default"}
MARKERS = ("hd", "+", "x", "o", "*", "#", "@", "%")
"""The markers that distinguish series without colours; the first is a line of quarter blocks."""


def as_text(chart: Chart, width: int = 80, height: int = HEIGHT, *, colour: bool = False) -> str:
    """A chart as lines of text.

    Args:
        chart: The chart.
        width: The characters in a line.
        height: The lines of a pair of axes.
        colour: Whether series are distinguished by ANSI colours rather than markers.
    """
    return "\n".join(line.rstrip() for line in _drawn(chart, width, height, colour))


@singledispatch
def _drawn(chart: Any, width: int, height: int, colour: bool) -> list[str]:
    raise TypeError(f"{type(chart).__name__} is not a chart of wf_charts")


@_drawn.register
def _of_lines(chart: Lines, width: int, height: int, colour: bool) -> list[str]:
    import plotext

    chosen, chart = chart, in_decades(chart)
    shown = [series for series in (_finite(series, chart.log_y) for series in chart.series) if series.x]
    if not shown:
        return [chart.title, "nothing to draw: no finite values"]
    figure = plotext.figure
    figure.clear()
    figure.interactive(False)
    figure.theme("colorless")
    figure.plot_size(width, height)
    entries = []
    for series, (place, label) in zip(shown, legend(shown), strict=True):
        code, pixel = _look(series, place, colour)
        y = [math.log10(value) for value in series.y] if chart.log_y else list(series.y)
        signal = figure.signal(list(series.x), y, marker=plotext.marker(code, pixel))
        if series.mark != "points" and len(series.x) > 1:
            signal.lines()
        figure.draw(signal)
        sign = "▚" if code == "hd" else code
        if label:
            entries.append(f"{plotext.colorize(sign, pixel) if colour else sign} {label}")
    figure.title(chart.title)
    figure.label(chosen.x_label, axis="x")
    for axis, limits in (("x", chart.x_range), ("y", None if chart.log_y else chart.y_range)):
        if limits is not None:
            figure.ruler(axis).lim(*limits)
    if chart.log_y:
        _decades(figure, "y", [math.log10(value) for series in shown for value in series.y])
    if chosen.log_x:
        _decades(figure, "x", [value for series in shown for value in series.x])
    text = figure.build().string()
    figure.clear()
    lines = text.split("\n") if colour else plotext.uncolorize(text).split("\n")
    while not chosen.x_label and lines and not _plain(lines[-1]).strip():
        lines.pop()  # the place of the label
    return [*lines, *_wrapped(entries, width)]


@_drawn.register
def _of_panels(chart: Panels, width: int, height: int, colour: bool) -> list[str]:
    lines: list[str] = []
    for panel in chart.panels:
        lines += [*_drawn(panel, width, height, colour), ""]
    return lines[:-1]


@_drawn.register
def _of_matrix(chart: Matrix, width: int, height: int, colour: bool) -> list[str]:
    names = max(map(len, (*chart.rows, chart.row_label)))
    names = max(min(names, width // 3), len(chart.row_label))
    cells = [[str(count) for count in row] for row in chart.counts]
    wide = max(len(text) for row in cells for text in row)
    room = (width - names - 7) // len(chart.columns) - 2
    full = min(max(wide, *map(len, chart.columns)), 12)
    column = max(wide, min(room, full))
    head = f"{chart.row_label:<{names}}" + "".join(f"  {name[:column]:>{column}}" for name in chart.columns) + "  right"
    lines = [f"{chart.title}: {chart.row_label} in rows, {chart.column_label} in columns", head]
    for place, (name, row, shares) in enumerate(zip(chart.rows, cells, chart.shares(), strict=True)):
        right = f"{shares[place]:>6.0%}" if place < len(shares) else ""
        lines.append(f"{name[:names]:<{names}}" + "".join(f"  {text:>{column}}" for text in row) + f" {right}")
    return lines


@_drawn.register
def _of_intervals(chart: Intervals, width: int, height: int, colour: bool) -> list[str]:
    ends = [row.mean for row in chart.rows]
    ends += [end for row in chart.rows for end in (row.low, row.high) if end is not None]
    ends += [] if chart.reference is None else [chart.reference]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    names = min(max((len(row.name) for row in chart.rows), default=0), width // 3)
    room = max(10, width - names - 2)

    def place(value: float) -> int:
        return round((value - low) / ((high - low) or 1) * (room - 1))

    lines = [f"{chart.title}: {chart.x_label}" if chart.x_label else chart.title]
    for row in chart.rows:
        bar = [" "] * room
        if chart.reference is not None:
            bar[place(chart.reference)] = "┊"
        if row.low is not None and row.high is not None:
            for at in range(place(row.low), place(row.high) + 1):
                bar[at] = "─"
        bar[place(row.mean)] = "●"
        lines.append(f"{row.name[:names]:<{names}}  {''.join(bar)}")
    left, right = f"{low:.4g}", f"{high:.4g}"
    lines.append(" " * (names + 2) + left + right.rjust(room - len(left)))
    return lines


@_drawn.register
def _of_samples(chart: Samples, width: int, height: int, colour: bool) -> list[str]:
    lines = [chart.title]
    for sample in chart.samples:
        shown = textwrap.shorten(sample.text, max(width - 4, 20), placeholder=" ...") if sample.text else ""
        lines += textwrap.wrap(sample.caption, width) + ([f"    {shown}"] if shown else [])
    if any(sample.picture is not None for sample in chart.samples):
        lines.append("(pictures: wf plot RUN without --terminal writes them to a file)")
    return lines


def _finite(series: Series, is_log: bool) -> Series:
    """The series without points that cannot be drawn; gaps are bridged."""
    kept = [
        (x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(x) and math.isfinite(y) and
        (y > 0 or not is_log)
    ]  # fmt: skip
    x, y = [one for one, _ in kept], [one for _, one in kept]
    return thinned(replace(series, x=x, y=y), 1000)


def _look(series: Series, place: int, colour: bool) -> tuple[str, Any]:
    """The marker and the colour of a series."""
    if series.mark == "reference":
        return "·", None
    if not colour:
        return MARKERS[place % len(MARKERS)], None
    return "hd", ROLES.get(series.role, ANSI[place % len(ANSI)])


def _decades(figure: Any, axis: str, logs: Sequence[float]) -> None:
    """Labels of a logarithmic axis."""
    low, high = min(logs), max(logs)
    places = [low + (high - low) * part / 4 for part in range(5)]
    figure.ruler(axis).ticks(places, [f"{10**place:.2g}" for place in places])


def _wrapped(legend: Sequence[str], width: int) -> list[str]:
    """The legend in as many lines as it needs."""
    lines, line, used = list[str](), "", 0
    for entry in legend:
        size = len(_plain(entry)) + 3
        if line and used + size > width:
            lines, line, used = [*lines, line], "", 0
        line, used = f"{line}   {entry}" if line else entry, used + size
    return [*lines, line] if line else lines


def _plain(text: str) -> str:
    import plotext

    return str(plotext.uncolorize(text))
