"""Curves in a terminal, with the dots of braille characters: two by four in a character.

The library for this, plotext, takes 0.6 s to import and brings a compiled kernel; this page is all that is used here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

Points = Sequence[tuple[float, float]]
COLOURS = ("blue", "dark_orange", "green", "magenta", "cyan")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, by row and column."""
_BLANK = 0x2800
_DECADES = 2
_LARGEST = 1e300
"""Values beyond, and those that are not finite, are left out."""


def chart(title: str, curves: Mapping[str, Points], width: int, height: int) -> Text:
    """Curves with a title, the names, and the ends of both axes.

    Args:
        title: What is on the y axis; a logarithmic one says so.
        curves: The points of each curve by its name; values that are not finite are left out.
        width: The columns that it takes.
        height: The lines that it takes, at least 4.
    """
    finite = {name: [point for point in points if abs(point[1]) < _LARGEST] for name, points in curves.items()}
    finite = {name: points for name, points in finite.items() if points}
    head = Text(title, "bold")
    if not finite:
        return Text.assemble(head, "\n", ("nothing yet", "dim"))
    values = [y for points in finite.values() for _, y in points]
    log = min(values) > 0 and max(values) / min(values) > 10**_DECADES
    head = Text(f"{title} (logarithmic)" if log else title, "bold")
    for number, name in enumerate(finite):
        head.append(f"  {name}", COLOURS[number % len(COLOURS)])
    scaled = {name: [(x, math.log10(y) if log else y) for x, y in points] for name, points in finite.items()}
    ends = (_label(max(values)), _label(min(values)))
    left = max(map(len, ends))
    grid = _Grid(max(width - left - 1, 4), max(height - 2, 2), scaled)
    head.truncate(width, overflow="ellipsis")
    lines = [head]
    for row in range(grid.rows):
        label = ends[0] if row == 0 else ends[1] if row == grid.rows - 1 else ""
        lines.append(Text.assemble((f"{label:>{left}} ", "dim"), grid.line(row)))
    first, last = f"{grid.x_from:g}", f"{grid.x_to:g}"
    lines.append(Text(f"{'':{left}} {first}{last:>{max(grid.columns - len(first), 1)}}", "dim"))
    return Text("\n").join(lines)


class _Grid:
    """Dots on characters; where curves share a character the later one has it."""

    def __init__(self, columns: int, rows: int, curves: Mapping[str, Points]) -> None:
        self.columns, self.rows = columns, rows
        xs = [x for points in curves.values() for x, _ in points]
        ys = [y for points in curves.values() for _, y in points]
        self.x_from, self.x_to, self._low, self._high = min(xs), max(xs), min(ys), max(ys)
        self._bits = [[0] * columns for _ in range(rows)]
        self._owner = [[0] * columns for _ in range(rows)]
        for number, points in enumerate(curves.values()):
            dots = [self._dot(x, y) for x, y in points]
            for one, other in zip(dots, dots[1:] or dots, strict=False):
                self._join(one, other, number)

    def line(self, row: int) -> Text:
        """A row of characters."""
        text = Text()
        for bits, owner in zip(self._bits[row], self._owner[row], strict=True):
            text.append(chr(_BLANK + bits) if bits else " ", COLOURS[owner % len(COLOURS)] if bits else "")
        return text

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        across = (x - self.x_from) / ((self.x_to - self.x_from) or 1)
        up = (y - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return round(across * (2 * self.columns - 1)), round((1 - up) * (4 * self.rows - 1))

    def _join(self, one: tuple[int, int], other: tuple[int, int], number: int) -> None:
        num = max(abs(other[0] - one[0]), abs(other[1] - one[1]), 1)
        for at in range(num + 1):
            x = round(one[0] + (other[0] - one[0]) * at / num)
            y = round(one[1] + (other[1] - one[1]) * at / num)
            self._bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            self._owner[y // 4][x // 2] = number


def _label(value: float) -> str:
    return f"{value:.4g}"
