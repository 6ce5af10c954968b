"""Column contents: numbers, or one of several categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wf_datasets.tables.cells import BOOLEANS, number
from wf_datasets.tables.table import Column
from wf_datasets.tables.text.plain_rows import Array

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}\Z")
_PADDED = re.compile(r"[+-]?0[0-9]+\Z")
Form = Literal["text", "boolean", "whole", "number"]
"""Maps a cell to its category: equal strings, ``True`` and ``true``, ``+1`` and ``1``, ``1.50`` and ``1.5`` are the
same."""


@dataclass(frozen=True)
class Categories:
    """The values of a column, in their order."""

    values: tuple[str, ...]
    form: Form

    def key(self, cell: str) -> str:
        """The value that a cell names; the category of missing values is the empty string."""
        return "" if is_missing(cell) else _key(cell, self.form)

    def indices(self, column: Column) -> Array:
        """The index of each row's value, int64 ``[N]``, -1 for an unknown value."""
        assert column.codes is not None
        places = {value: place for place, value in enumerate(self.values)}
        known = [places.get(self.key(text), -1) for text in column.texts]
        indices: Array = np.array([*known, -1], dtype=np.int64)[column.codes]
        return indices


MISSING = "(missing)"
"""The name of the category of missing values in messages and input names."""


def shown(value: str) -> str:
    """A readable category."""
    return value or MISSING


def is_missing(text: str) -> bool:
    """Whether a cell of a column of text is without a value."""
    return text.lower() in ("", "nan")


def categories(texts: Iterable[str], *, numbers: bool = False) -> Categories:
    """The values of cells, sorted: as numbers if all are numbers, else as text; a missing value comes first.

    Codes with leading zeros stay text.

    Args:
        texts: The different cells.
        numbers: Whether ``1.5`` and ``1.50`` are one value.
    """
    given = list(texts)
    found = [text for text in given if not is_missing(text)]
    form = _form(found, numbers=numbers)
    values = {_key(text, form) for text in found}
    missing = ("",) if len(found) < len(given) else ()
    if form in ("whole", "number"):
        return Categories((*missing, *sorted(values, key=float)), form)
    return Categories((*missing, *sorted(values)), form)


def _form(texts: Sequence[str], *, numbers: bool) -> Form:
    if all(text.lower() in BOOLEANS for text in texts):
        return "boolean"
    if any(map(_PADDED.match, texts)):
        return "text"
    if all(map(_WHOLE.match, texts)):
        return "whole"
    return "number" if numbers else "text"


def _key(cell: str, form: Form) -> str:
    if form == "boolean":
        return cell.lower()
    if form == "whole":
        return str(int(cell)) if _WHOLE.match(cell) and not _PADDED.match(cell) else cell
    value = number(cell) if form == "number" else None
    return cell if value is None else str(value + 0.0)  # -0.0 is 0.0


def as_numbers(column: Column) -> Array | None:
    """A text column as numbers, float64 ``[N]``; None if a cell is not a number."""
    assert column.codes is not None
    values = np.full(len(column.texts), np.nan)
    for code in column.used():
        value = number(column.texts[code])
        if value is None:
            return None
        values[code] = value
    return values[column.codes]


def is_zero_one(numbers: Array) -> bool:
    """Whether there are only 0 and 1 among the numbers."""
    return bool(((numbers == 0) | (numbers == 1)).all())
