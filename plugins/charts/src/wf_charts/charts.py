"""The charts: frozen dataclasses of names and numbers. Renderers decide how they look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

Mark = Literal["line", "thin", "dashed", "points", "reference"]

LOG_DECADES = 2
"""Positive values that span more decades than this are drawn on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points, or a line through them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    """As many as `x`; nan leaves a gap."""
    mark: Mark = "line"
    """``thin`` is a line behind the others, ``reference`` a dotted one to compare with, such as a diagonal."""
    role: str = ""
    """The role that determines its colour: ``train``, ``validation``, ``test``, ``predictions``; by default the next
    colour."""
    group: str = ""
    """Series of one group share a colour and an entry in the legend, such as the repeats of a comparison's row."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves or points over one pair of axes."""

    name: str
    """The name of the file: ``loss`` for ``plots/loss.svg``."""
    title: str
    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    log_y: bool = False
    log_x: bool = False
    about: str = ""
    """How to read it, in a sentence or two."""


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Several small charts in one file."""

    name: str
    title: str
    panels: Sequence[Lines]
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Counts in rows and columns. Cells are coloured by their share of the row."""

    name: str
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    row_label: str = "true"
    column_label: str = "predicted"
    about: str = ""

    def shares(self) -> list[list[float]]:
        """Each count divided by the sum of its row; 0 in an empty row."""
        return [[count / (sum(row) or 1) for count in row] for row in self.counts]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval; both ends are None if unknown."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """A forest plot: means with intervals, one below the other."""

    name: str
    title: str
    rows: Sequence[Interval]
    x_label: str = ""
    reference: float | None = None
    """A vertical line, such as 0 for differences."""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample: a picture or a text, with a caption."""

    caption: str
    picture: bytes | None = None
    """A PNG file."""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A grid of samples."""

    name: str
    title: str
    samples: Sequence[Sample] = field(default_factory=tuple)
    about: str = ""


Chart: TypeAlias = Lines | Panels | Matrix | Intervals | Samples


def in_decades(chart: Lines) -> Lines:
    """The chart with decimal logarithms of x instead of a logarithmic axis, for renderers with linear axes only."""
    if not chart.log_x:
        return chart
    series = [replace(one, x=[math.log10(x) if x > 0 else math.nan for x in one.x]) for one in chart.series]
    limits = chart.x_range and (math.log10(chart.x_range[0]), math.log10(chart.x_range[1]))
    return replace(chart, series=series, x_range=limits, x_label=f"log10 of {chart.x_label}", log_x=False)


def legend(series: Sequence[Series]) -> list[tuple[int, str]]:
    """For each series the number of its legend entry, which decides its colour, and the entry's text: empty for all but
    the first series of a group."""
    found: list[tuple[int, str]] = []
    groups: dict[str, int] = {}
    for one in series:
        number = sum(bool(text) for _, text in found)
        if one.group in groups:
            found.append((groups[one.group], ""))
            continue
        if one.group:
            groups[one.group] = number
        found.append((number, one.group or one.name))
    return found


def is_wide(values: Sequence[float]) -> bool:
    """Whether values need a logarithmic axis."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 10**LOG_DECADES


def thinned(series: Series, most: int) -> Series:
    """A series of about `most` points at most that looks the same: of neighbouring points the lowest and the highest
    are kept."""
    if len(series.x) <= most:
        return series
    if series.mark == "points":
        step = math.ceil(len(series.x) / most)
        kept = list(range(0, len(series.x), step))
    else:
        size, kept = math.ceil(2 * len(series.x) / most), []
        for start in range(0, len(series.x), size):
            part = range(start, min(start + size, len(series.x)))
            ordered = sorted(part, key=lambda index: (math.isnan(series.y[index]), series.y[index]))
            kept += sorted({ordered[0], ordered[-1]})
    return replace(series, x=[series.x[index] for index in kept], y=[series.y[index] for index in kept])


def shortened(name: str, most: int = 24) -> str:
    """A name with at most so many characters, for labels."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
