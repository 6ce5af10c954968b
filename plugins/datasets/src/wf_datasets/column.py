"""The cells of one column as numbers, categories or labels."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError
from wf.runtime import class_index
from wf_datasets.table import Table

_BOOLEANS = {"true": 1.0, "false": 0.0}
_WORDS = _BOOLEANS | dict.fromkeys(("", "na", "n/a", "nan", "null", "none", "?"), math.nan)
"""What is read as a number without being one; nan stands for a missing value."""
_MISSING_TEXT = ("", "nan")
_WHOLE = re.compile(r"[+-]?[0-9]+\Z")
MAX_CLASSES = 20
"""Whole numbers with more distinct values than this are a regression."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    cells: list[str]
    numbers: Tensor | None
    """float64 ``[N]``, nan where a value is missing; None for text."""

    @property
    def missing(self) -> list[int]:
        """The rows without a value."""
        if self.numbers is not None:
            return torch.nonzero(self.numbers.isnan()).flatten().tolist()
        return [row for row, cell in enumerate(self.cells) if cell.lower() in _MISSING_TEXT]

    def take(self, rows: list[int]) -> Column:
        """The column with these rows only."""
        numbers = None if self.numbers is None else self.numbers[rows]
        return replace(self, cells=[self.cells[row] for row in rows], numbers=numbers)

    def fill(self, value: float) -> Column:
        """The column of numbers with `value` for every missing one."""
        assert self.numbers is not None
        return replace(self, numbers=self.numbers.nan_to_num(nan=value))


def text_column(table: Table, name: str) -> Column:
    """A column whose cells are categories."""
    return Column(name, table.columns[name], None)


def number_column(table: Table, name: str) -> Column | int:
    """A column of numbers, or the first row that holds something else.

    ``true`` and ``false`` are 1 and 0; an empty cell, NA, N/A, NaN, null, None and ? are missing values.

    Raises:
        DataError: For a number that is infinite or too large for float32.
    """
    cells = table.columns[name]
    try:
        values = list(map(float, cells))
    except ValueError:
        values = []
        for row, cell in enumerate(cells):
            value = _number(cell)
            if value is None:
                return row
            values.append(value)
    numbers = torch.tensor(values, dtype=torch.float64)
    infinite = torch.nonzero(numbers.to(torch.float32).isinf()).flatten()
    if len(infinite):
        row = int(infinite[0])
        raise DataError(f"{table.place(row, name)}: {cells[row]} is not a finite float32 number")
    return Column(name, cells, numbers)


def _number(cell: str) -> float | None:
    try:
        return _WORDS[cell.lower()] if cell.lower() in _WORDS else float(cell)
    except ValueError:
        return None


def is_zero_one(column: Column) -> bool:
    """Whether the column holds only 0 and 1, or true and false."""
    return column.numbers is not None and bool(((column.numbers == 0) | (column.numbers == 1)).all())


def is_classes(column: Column) -> bool:
    """Whether a target column without missing values names classes.

    Text and booleans do, numbers with a fraction or a decimal point do not. Whole numbers do when each occurs at least
    twice and there are two of them, or at most 20 that follow one another from 0 or 1.
    """
    if column.numbers is None or _is_boolean(column):
        return True
    if not all(map(_WHOLE.match, column.cells)):
        return False
    counts = Counter(map(int, column.cells))
    values = sorted(counts)
    if min(counts.values()) < 2 or not 2 <= len(values) <= MAX_CLASSES:
        return False
    return len(values) == 2 or (values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1)


def _is_boolean(column: Column) -> bool:
    return all(cell.lower() in _BOOLEANS for cell in column.cells)


def labels(column: Column) -> tuple[Tensor, list[str]]:
    """The column as class indices.

    Returns:
        int64 ``[N]`` and the class names, sorted: as numbers where all are numbers, else as text.
    """
    return class_index(_values(column))


def _values(column: Column) -> list[Any]:
    if _is_boolean(column):
        return [cell.lower() for cell in column.cells]
    if all(map(_WHOLE.match, column.cells)):
        return [int(cell) for cell in column.cells]
    return column.cells if column.numbers is None else column.numbers.tolist()


def one_hot(column: Column) -> tuple[Tensor, list[str]]:
    """The column as float32 ``[N, K]``, a column for each of its K values, and their names ``name=value``."""
    indices, values = labels(column)
    encoded = torch.nn.functional.one_hot(indices, len(values)).to(torch.float32)
    return encoded, [f"{column.name}={value}" for value in values]
