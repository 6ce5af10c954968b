"""Blocks and charts as HTML and inline SVG. All text is escaped by `markupsafe`."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Any

from markupsafe import Markup, escape

from wf_charts import Code, Heading, Intervals, Lines, Matrix, Panels, Samples, Series, Table, Text
from wf_charts.charts import in_decades, legend, shortened, thinned
from wf_report.axes import Axis

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 42
"""The margins around the data."""
NAMES = 200
"""The width of the longest names of rows, those of 24 characters."""
ROW = 26
"""The height of a row in a forest plot."""
MAX_DOTS = 40
"""Curves of at most this many points have a dot at each point, with its value."""
COLOURS = 8
"""The number of colours in the style; further lines are dashed."""
ROLES = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the content of a page."""

    points: int
    """The number of points in all series of a chart."""
    pictures: int
    """Bytes of all pictures."""


class Renderer:
    """Makes HTML of blocks.

    Args:
        limits: The limits on the content.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._room = limits, limits.pictures
        self._numbers = itertools.count(1)
        self.left_out = 0
        """The number of pictures that were left out."""

    @singledispatchmethod
    def block(self, block: Any) -> Markup:
        """The HTML of a block."""
        raise TypeError(f"{type(block).__name__} is not a block of wf_charts")

    @block.register
    def _of_heading(self, block: Heading) -> Markup:
        return _tag("h3", block.text)

    @block.register
    def _of_text(self, block: Text) -> Markup:
        lines = Markup("<br>").join(block.text.splitlines())
        return _tag(
            "p", lines, role="note" if block.is_warning else None, class_="warning" if block.is_warning else None
        )

    @block.register
    def _of_code(self, block: Code) -> Markup:
        code = Markup('<pre tabindex="0"><code>{}</code></pre>').format(block.text)
        if block.is_folded:
            return Markup("<details><summary>{}</summary>{}</details>").format(block.caption or "Show", code)
        return (_tag("p", block.caption) if block.caption else Markup()) + code

    @block.register
    def _of_table(self, block: Table) -> Markup:
        numeric = [
            any(isinstance(row[place], (int, float)) for row in block.rows)
            and all(row[place] is None or isinstance(row[place], (int, float)) for row in block.rows)
            for place in range(len(block.head))
        ]
        head = Markup().join(
            _tag("th", name, scope="col", class_="number" if number else None)
            for name, number in zip(block.head, numeric, strict=True)
        )
        rows = Markup().join(_tag("tr", Markup().join(map(_cell, row, numeric))) for row in block.rows)
        caption = _tag("caption", block.caption) if block.caption else Markup()
        label = block.caption or f"Table: {', '.join(block.head[:3])}"
        return Markup(
            '<div class="wide" role="region" aria-label="{}" tabindex="0"><table class="sortable">{}<thead><tr>{}</tr>'
            "</thead><tbody>{}</tbody></table></div>"
        ).format(label, caption, head, rows)

    @block.register
    def _of_panels(self, block: Panels) -> Markup:
        return Markup('<div class="panels">{}</div>').format(Markup().join(map(self.block, block.panels)))

    @block.register
    def _of_lines(self, block: Lines) -> Markup:
        block = in_decades(block)
        most = max(20, self._limits.points // max(len(block.series), 1))
        series = [thinned(one, most) for one in block.series]
        x, y = _axes(block, series)
        if x is None or y is None:
            return self._figure(block, _tag("p", "There are no finite values to draw."))
        entries = legend(series)
        drawn = Markup().join(_series(one, place, x, y) for one, (place, _) in zip(series, entries, strict=True))
        clip = f"clip-{next(self._numbers)}"
        svg = Markup(
            '<svg viewBox="0 0 {w} {h}" role="img" tabindex="0" aria-label="{label}" data-left="{left}" '
            'data-right="{right}" data-top="{top}" data-bottom="{bottom}" data-x="{x0} {x1}" data-y="{y0} {y1}" '
            'data-log="{log}" data-xlabel="{xl}" data-ylabel="{yl}"><clipPath id="{clip}"><rect x="{left}" y="{above}" '
            'width="{iw}" height="{ih}"/></clipPath><g class="axes" aria-hidden="true">{axes}</g>'
            '<g class="data" clip-path="url(#{clip})">{drawn}</g></svg>'
        ).format(
            w=WIDTH,
            h=HEIGHT,
            label=f"{block.title}: chart of {', '.join(text for _, text in entries if text)}",
            left=LEFT,
            right=WIDTH - RIGHT,
            top=TOP,
            above=TOP - 6,
            bottom=HEIGHT - BOTTOM,
            x0=x.low,
            x1=x.high,
            y0=y.low,
            y1=y.high,
            log=int(block.log_y),
            xl=block.x_label,
            yl=block.y_label,
            clip=clip,
            iw=WIDTH - RIGHT - LEFT + 6,
            ih=HEIGHT - BOTTOM - TOP + 12,
            axes=_frame(x, y, block.x_label, block.y_label),
            drawn=drawn,
        )
        shown = Markup().join(
            _legend_entry(_look(one, place), place, text)
            for one, (place, text) in zip(series, entries, strict=True)
            if text
        )
        shown = Markup('<div class="legend" role="group" aria-label="Shown in this chart">{}</div>').format(shown)
        chart = Markup('<div class="plot">{}<output class="tip" aria-live="polite"></output></div>').format(svg)
        return self._figure(block, chart + shown + self._values(block))

    def _values(self, chart: Lines) -> Markup:
        """The ends of each series as a table, for those who cannot see the chart."""
        rows: list[list[str | int | float | None]] = []
        for one in chart.series:
            finite = [(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
            if finite and one.mark != "reference":
                low, high = (pick(finite, key=lambda point: point[1]) for pick in (min, max))
                ends = [finite[0][1], finite[-1][1], low[1], high[1]]
                rows.append([one.name, len(finite), *map(_rounded, ends)])
        table = Table(head=["series", "points", "first", "last", "lowest", "highest"], rows=rows)
        return Markup("<details class='values'><summary>Values</summary>{}</details>").format(self.block(table))

    @block.register
    def _of_matrix(self, block: Matrix) -> Markup:
        head = Markup().join(_tag("th", name, scope="col") for name in block.columns)
        rows = Markup().join(
            _tag("tr", _tag("th", name, scope="row") + Markup().join(map(_share, counts, shares)))
            for name, counts, shares in zip(block.rows, block.counts, block.shares(), strict=True)
        )
        table = Markup(
            '<div class="wide" role="region" aria-label="{title}" tabindex="0"><table class="matrix"><caption>{rl} in '
            "rows, {cl} in columns</caption><thead><tr><td></td>{head}</tr></thead>"
            "<tbody>{rows}</tbody></table></div>"
        ).format(title=block.title, rl=block.row_label, cl=block.column_label, head=head, rows=rows)
        return self._figure(block, table)

    @block.register
    def _of_intervals(self, block: Intervals) -> Markup:
        if not block.rows:
            return self._figure(block, _tag("p", "There is nothing to draw."))
        ends = [end for row in block.rows for end in (row.mean, row.low, row.high) if end is not None]
        ends += [] if block.reference is None else [block.reference]
        x = Axis.around(ends, NAMES, WIDTH - RIGHT)
        height = TOP + ROW * len(block.rows) + BOTTOM
        bottom = height - BOTTOM
        parts = [_grid_x(x, TOP, bottom, block.x_label)]
        if block.reference is not None:
            parts.append(
                _element("line", x1=x(block.reference), x2=x(block.reference), y1=TOP, y2=bottom, class_="zero")
            )
        for place, row in enumerate(block.rows):
            middle = TOP + ROW * (place + 0.5)
            parts.append(_words(NAMES - 8, middle + 4, shortened(row.name), "end"))
            has_interval = row.low is not None and row.high is not None
            words = f"{row.name}: {_number(row.mean)}"
            if row.low is not None and row.high is not None:
                words += f", from {_number(row.low)} to {_number(row.high)}"
                parts.append(_element("line", x1=x(row.low), x2=x(row.high), y1=middle, y2=middle, class_="interval"))
            words += f", {row.note}" if row.note else ""
            title = Markup("<title>{}</title>").format(words)
            dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="mean">{}</circle>')
            parts.append(dot.format(x(row.mean), middle, 5 if has_interval else 4, title))
        svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, height, f"{block.title}: means with intervals", Markup().join(parts)
        )
        return self._figure(block, Markup('<div class="plot">{}</div>').format(svg))

    @block.register
    def _of_samples(self, block: Samples) -> Markup:
        items = Markup().join(map(self._sample, block.samples))
        return self._figure(block, Markup('<ul class="samples">{}</ul>').format(items))

    def _sample(self, sample: Any) -> Markup:
        shown = _tag("p", sample.text, class_="text") if sample.text else Markup()
        if sample.picture is not None:
            code = base64.b64encode(sample.picture).decode()
            self._room -= len(code)
            if self._room >= 0:
                shown = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(code, sample.caption)
            else:
                self.left_out += 1
                shown = _tag("p", "picture left out", class_="text")
        return Markup("<li>{}<p>{}</p></li>").format(shown, sample.caption)

    def _figure(self, chart: Any, content: Markup) -> Markup:
        about = _tag("p", chart.about) if chart.about else Markup()
        return Markup(
            '<figure id="chart-{}" data-name="{}"><figcaption><strong>{}</strong>{}</figcaption>{}</figure>'
        ).format(next(self._numbers), chart.name, chart.title, about, content)


def _axes(chart: Lines, series: Sequence[Series]) -> tuple[Axis | None, Axis | None]:
    """The axes over all finite values; None without any."""
    points = [
        (x, y)
        for one in series
        for x, y in zip(one.x, one.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not chart.log_y)
    ]
    if not points:
        return None, None
    x = Axis.of(chart.x_range or _ends([x for x, _ in points]), LEFT, WIDTH - RIGHT)
    ends = chart.y_range or _with_room(_ends([y for _, y in points]), is_log=chart.log_y)
    y = Axis.of(ends, HEIGHT - BOTTOM, TOP, is_log=chart.log_y)
    return x, y


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _with_room(ends: tuple[float, float], *, is_log: bool) -> tuple[float, float]:
    """Ends with room for lines at the edge."""
    low, high = ends
    if is_log:
        return low / 1.15, high * 1.15
    room = 0.05 * (high - low)
    return low - room, high + room


def _series(series: Series, place: int, x: Axis, y: Axis) -> Markup:
    """One series, with its values for the script."""
    kept = [
        (a, b if math.isfinite(b) and (b > 0 or not y.is_log) else math.nan)
        for a, b in zip(series.x, series.y, strict=True)
        if math.isfinite(a)
    ]
    finite = [(a, b) for a, b in kept if not math.isnan(b)]
    parts = []
    if series.mark != "points" and len(finite) > 1:
        parts.append(Markup('<path d="{}"/>').format(_path(kept, x, y)))
    if series.mark == "points" or (len(finite) <= MAX_DOTS and series.mark not in ("thin", "reference")):
        radius = 2.5 if series.mark == "points" else 3 if len(finite) > 1 else 5
        for a, b in finite:
            title = Markup("<title>{}: {}, {}</title>").format(series.name, _number(a), _number(b))
            parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>').format(x(a), y(b), radius, title))
    values = " ".join(f"{a:.6g},{'' if math.isnan(b) else f'{b:.6g}'}" for a, b in kept)
    return Markup('<g class="series {}" data-series="{}" data-name="{}" data-points="{}">{}</g>').format(
        _look(series, place), place, series.name, values, Markup().join(parts)
    )


def _path(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    """A line with gaps where values are not finite."""
    path, pen = [], "M"
    for a, b in points:
        if math.isnan(b):
            pen = "M"
            continue
        path.append(f"{pen}{x(a):.1f} {y(b):.1f}")
        pen = "L"
    return "".join(path)


def _look(series: Series, place: int) -> str:
    """The CSS classes for colour and stroke."""
    if series.mark == "reference":
        return "reference"
    colour = ROLES.get(series.role, place % COLOURS)
    names = [f"c{colour}", series.mark]
    if series.role == "predictions":
        names[0] = "cp"
    elif series.role not in ROLES and place >= COLOURS:
        names.append("dashed")
    return " ".join(names)


def _legend_entry(look: str, place: int, text: str) -> Markup:
    return Markup(
        '<label class="{}"><input type="checkbox" checked data-series="{}" class="s{}"><i></i> {}</label>'
    ).format(look, place, place, text)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> Markup:
    """Grid, numbers and labels of both axes."""
    parts = [_grid_x(x, TOP, HEIGHT - BOTTOM, x_label)]
    for value in y.ticks(5):
        place = y(value)
        parts.append(_element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=place, y2=place, class_="grid"))
        parts.append(_words(LEFT - 6, place + 4, _number(value), "end"))
    if y_label:
        turned = Markup('<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>')
        parts.append(turned.format((TOP + HEIGHT - BOTTOM) / 2, y_label))
    return Markup().join(parts)


def _grid_x(x: Axis, top: float, bottom: float, label: str) -> Markup:
    parts = []
    for value in x.ticks(7):
        parts.append(_element("line", x1=x(value), x2=x(value), y1=top, y2=bottom, class_="grid"))
        parts.append(_words(x(value), bottom + 16, _number(value), "middle"))
    parts.append(_words((x.begin + x.end) / 2, bottom + 34, label, "middle"))
    return Markup().join(parts)


def _words(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _element(name: str, **attributes: Any) -> Markup:
    return Markup("<{} {}/>").format(Markup(name), Markup(" ").join(_attributes(attributes)))


def _tag(name: str, content: Any, **attributes: Any) -> Markup:
    given = Markup().join(Markup(" ") + one for one in _attributes(attributes))
    return Markup("<{}{}>{}</{}>").format(Markup(name), given, content, Markup(name))


def _attributes(attributes: dict[str, Any]) -> Iterator[Markup]:
    for name, value in attributes.items():
        if value is not None:
            shown = f"{value:.1f}" if isinstance(value, float) else value
            yield Markup('{}="{}"').format(Markup(name.rstrip("_")), shown)


def _cell(value: Any, is_number: bool) -> Markup:
    if value is None:
        return Markup("<td></td>")
    if isinstance(value, (int, float)):
        shown = _number(value)
        return (
            _tag("td", shown, class_="number" if is_number else None, data_value=None)
            if not is_number
            else Markup('<td class="number" data-value="{}">{}</td>').format(repr(value), shown)
        )
    lines = Markup("<br>").join(escape(line) for line in str(value).splitlines())
    return _tag("td", lines)


def _share(count: int, share: float) -> Markup:
    dark = " dark" if share > 0.5 else ""
    return Markup('<td class="share{}" style="--share:{:.0f}%" title="{:.1%} of the row">{}</td>').format(
        dark, 100 * share, share, count
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _number(value: float) -> str:
    """``0.9741``, ``1,797``, ``1.2e-05``."""
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.3g}"
