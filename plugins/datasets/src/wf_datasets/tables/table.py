"""Columns of arrays: a table that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wf_datasets.tables.text.plain_rows import Array

Mode = Literal["number", "text", "skip"]
"""The kinds of columns."""
Decimal = Literal["auto", ".", ","]
"""The decimal separators; ``auto`` determines it from the first rows."""


class NotNumbersError(Exception):
    """Columns that are read as numbers hold something else; each has the line and the cell, in order."""

    def __init__(self, found: dict[str, tuple[int, str]]) -> None:
        super().__init__(str(found))
        self.found = found


@dataclass(frozen=True)
class Column:
    """One column, read as numbers or as text."""

    name: str
    numbers: Array | None
    """float64 ``[N]``, nan for a missing value; None for text."""
    codes: Array | None = None
    """For text: int64 ``[N]``, the indices of the cells in `texts`."""
    texts: Sequence[str] = ()
    """The different cells, without surrounding blanks."""

    @property
    def missing(self) -> Array:
        """The rows without a value, bool ``[N]``."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        return self._where([text.lower() in ("", "nan") for text in self.texts])

    def cells(self) -> list[Any]:
        """The value of each row, as a string or a number."""
        if self.numbers is not None:
            return list(self.numbers.tolist())
        assert self.codes is not None
        return [self.texts[code] for code in self.codes.tolist()]

    def take(self, kept: Array) -> Column:
        """The column with these rows only."""
        numbers = None if self.numbers is None else self.numbers[kept]
        return replace(self, numbers=numbers, codes=None if self.codes is None else self.codes[kept])

    def present(self) -> list[str]:
        """The strings that occur."""
        return [self.texts[code] for code in self.used()]

    def used(self) -> list[int]:
        """The codes that occur."""
        assert self.codes is not None
        return np.flatnonzero(np.bincount(self.codes)).tolist()

    def _where(self, chosen: Sequence[bool]) -> Array:
        assert self.codes is not None
        return np.array([*chosen, False], dtype=bool)[self.codes]


@dataclass(frozen=True)
class Table:
    """The requested columns of a file."""

    path: Path
    columns: Mapping[str, Column]
    lines: Array
    """The line where each row starts, counted from 1."""
    unit: str = "line"
    """What `lines` counts."""

    def place(self, row: int, column: str) -> str:
        """The position of a cell, for messages."""
        return place(self.path, int(self.lines[row]), column, self.unit)

    def take(self, kept: Array) -> Table:
        """The table with these rows only."""
        columns = {name: column.take(kept) for name, column in self.columns.items()}
        return replace(self, columns=columns, lines=self.lines[kept])


def place(path: Path | str, line: int, column: str, unit: str = "line") -> str:
    """The position of a cell, for messages."""
    return f"{path}, {unit} {line}, column '{column}'"
