"""A run in a notebook: a table of its epochs and the curve of its loss, redrawn in place."""

from __future__ import annotations

import html
import importlib
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from wf.engine.figures import LOSS
from wf.terminal import duration
from wf_tracking.display.text import cell_of
from wf_tracking.drawing.history import COLOURS, Curve, History, curves

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 460, 200, 56, 24, 20
_MAX_POINTS = 400
_MIN_INTERVAL_SEC = 0.5
_SHARE = 0.05
"""The largest share of the time of a run that drawing takes."""


def kernel() -> Any:
    """The interactive shell of a notebook; None outside of one."""
    if "IPython" not in sys.modules:
        return None
    shell = sys.modules["IPython"].get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


class Notebook:
    """An output cell that is redrawn, not more often than its cost allows."""

    def __init__(self) -> None:
        shown: Any = importlib.import_module("IPython.display")  # without types, and only where there is a notebook
        self._html = shown.HTML
        self._handle = shown.display(shown.HTML(""), display_id=True)
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time to draw again."""
        return time.monotonic() >= self._next

    def draw(self, page: Any) -> None:
        """Draw what `page` returns."""
        began = time.monotonic()
        self._handle.update(self._html(page()))
        now = time.monotonic()
        self._next = now + max(_MIN_INTERVAL_SEC, (now - began) / _SHARE)


def page(position: str, rows: Sequence[Any], records: Sequence[dict[str, Any]]) -> str:
    """The position, the table of epochs and the curve, as HTML without scripts.

    Args:
        position: Where the run is, or its totals.
        rows: The rows of `wf_tracking.display.progress`.
        records: The records of the run so far.
    """
    return (
        f'<div class="wf-run"><p>{html.escape(position)}</p>'
        f'<div style="display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start">{_table(rows)}'
        f"{curve_of_loss(curves(records))}</div></div>"
    )


def _table(rows: Sequence[Any]) -> str:
    """The epochs, a column for each figure."""
    columns = list(dict.fromkeys(column for row in rows for column in row.figures))
    places = list(dict.fromkeys(title for row in rows for title, _ in row.places))
    names = [*places, *(f"{split} {name}" for split, name in columns), "time", ""]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = []
    for row in rows:
        where = dict(row.places)
        cells = [where.get(title, "") for title in places]
        cells += [cell_of(row.figures.get(column)) for column in columns]
        cells += [duration(row.seconds), "*" if row.best else ""]
        weight = ' style="font-weight:bold"' if row.best else ""
        body.append(f"<tr{weight}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>" if rows else ""


def curve_of_loss(history: History) -> str:
    """The loss of each split over the epochs or updates, as SVG; empty if there is nothing to draw."""
    train = history.epoch_loss if len(history.epoch_loss.steps) > 1 else history.running_loss
    held_out = [curve for curve in history.evaluated.get(LOSS, ()) if curve.split != "train"]
    drawn = [curve for curve in (train, *held_out) if len(_points(curve)) > 1]
    if not drawn:
        return ""
    points = [point for curve in drawn for point in _points(curve)]
    (left, right), (low, high) = _ends(x for x, _ in points), _ends(y for _, y in points)
    per_epoch = history.steps_per_epoch or 1

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - left) / ((right - left) or 1) * (_WIDTH - _LEFT - 8)
        down = _TOP + (high - y) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    def text(x: float, y: float, words: str, colour: str = "currentColor", anchor: str = "start") -> str:
        style = f'x="{x:.0f}" y="{y:.0f}" fill="{colour}" text-anchor="{anchor}" font-size="12"'
        return f"<text {style}>{html.escape(words)}</text>"

    parts = [text(_LEFT, 12, LOSS)]
    for number, curve in enumerate(drawn):
        colour = COLOURS.get(curve.split, "#CC79A7")
        line = " ".join(place(x, y) for x, y in _points(curve))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(_LEFT + 60 + 80 * number, 12, curve.split, colour))
    unit = "epochs" if history.steps_per_epoch else "updates"
    bottom = _HEIGHT - _BOTTOM
    parts += [
        text(_LEFT - 6, _TOP + 8, f"{high:.4g}", anchor="end"),
        text(_LEFT - 6, bottom, f"{low:.4g}", anchor="end"),
    ]
    parts += [text(_LEFT, _HEIGHT - 6, f"{left / per_epoch:.4g}")]
    parts += [text(_WIDTH - 8, _HEIGHT - 6, f"{right / per_epoch:.4g} {unit}", anchor="end")]
    label = f"loss of {', '.join(curve.split for curve in drawn)} over the run"
    head = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{label}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}>{"".join(parts)}</svg>'


def _points(curve: Curve) -> list[tuple[int, float]]:
    found = [(x, y) for x, y in zip(curve.steps, curve.values, strict=True) if math.isfinite(y)]
    thin = math.ceil(len(found) / _MAX_POINTS)
    return found if thin <= 1 else [*found[:-1:thin], found[-1]]


def _ends(values: Any) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)
