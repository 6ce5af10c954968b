"""The epochs of a run as a table of fixed columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wf_tracking.display.text import cell_of

Column = tuple[str, str]
"""A split and the name of a figure."""

_WIDTH, _TIME = 9, 10
_GAP = "  "
_MORE = "…"


class Table:
    """Rows in columns as wide as their headings and numbers; columns that do not fit are left out, with an ellipsis.

    Args:
        width: The width of the terminal.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._places: list[tuple[str, int]] = []
        self._columns: list[Column] = []
        self._shown: list[Column] = []

    def heading(self, places: Sequence[tuple[str, str]], figures: Mapping[Column, Any]) -> list[str]:
        """The two lines above the rows; none if the row fits below the last heading.

        Args:
            places: Where in the run a row is: ``[("epoch", "3/10")]``.
            figures: The figures of the row.
        """
        titles = [title for title, _ in places]
        if [title for title, _ in self._places] == titles and set(figures) <= set(self._columns):
            return []
        self._places = [(title, max(len(title), len(text))) for title, text in places]
        columns = list(dict.fromkeys([*figures, *self._columns]))
        splits = list(dict.fromkeys(split for split, _ in columns))
        self._columns = sorted(columns, key=lambda column: splits.index(column[0]))
        self._fit()
        upper, lower = [" " * width for _, width in self._places], [f"{t:>{w}}" for t, w in self._places]
        before = None
        for column in self._shown:
            split, name = column
            wide = self._wide(column)
            upper.append(f"{split if split != before else '':>{wide}}")
            lower.append(f"{name:>{wide}}")
            before = split
        more = [_MORE] if len(self._shown) < len(self._columns) else []
        return [_GAP.join(upper).rstrip(), _GAP.join([*lower, *more, f"{'time':>{_TIME}}"])]

    def row(self, places: Sequence[tuple[str, str]], figures: Mapping[Column, Any], time: str) -> str:
        """A row below the last heading."""
        cells = [f"{text:>{width}}" for (_, text), (_, width) in zip(places, self._places, strict=True)]
        cells += [f"{cell_of(figures.get(column)):>{self._wide(column)}}" for column in self._shown]
        more = [_MORE] if len(self._shown) < len(self._columns) else []
        return _GAP.join([*cells, *more, f"{time:>{_TIME}}"])

    def _fit(self) -> None:
        fixed = sum(width + len(_GAP) for _, width in self._places) + _TIME + len(" *")
        self._shown = list(self._columns)
        while len(self._shown) > 1 and fixed + self._taken() > self._width:
            self._shown.pop()

    def _taken(self) -> int:
        more = len(_MORE) + len(_GAP) if len(self._shown) < len(self._columns) else 0
        return sum(self._wide(column) + len(_GAP) for column in self._shown) + more

    def _wide(self, column: Column) -> int:
        split, name = column
        first = next(other for other in self._columns if other[0] == split) == column
        return max(_WIDTH, len(name), len(split) if first else 0)
