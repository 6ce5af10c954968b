"""Converts rows given as dicts (from programs, JSON lines and parquet) to columns of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np

from wf.errors import DataError, lacking
from wf_datasets.tables.cells import number, number_with_comma
from wf_datasets.tables.column import Categories
from wf_datasets.tables.table import Column, Mode, Table, place
from wf_datasets.tables.text.plain_rows import LARGEST, Array


def table_of(
    records: Sequence[Mapping[str, Any]],
    modes: Mapping[str, Mode],
    where: str,
    *,
    first: int = 1,
    decimal: str = ".",
    forms: Mapping[str, Categories] | None = None,
) -> Table:
    """The columns of rows, checked like a file's.

    Args:
        records: The rows by column; a missing key and None are missing values.
        modes: The type that each column is read as.
        where: Their origin, for messages.
        first: The number of the first row, for messages.
        decimal: The decimal separator of numbers given as text.
        forms: The categories of columns that have some.

    Raises:
        DataError: For a column that no row has, and for values in numeric columns that are not numbers.
    """
    there = dict.fromkeys(name for record in records for name in record)
    for name in modes:
        if name not in there:
            raise DataError(f"{where}: {lacking('column', name, there)}")
    columns = {}
    for name, mode in modes.items():
        values = [record.get(name) for record in records]
        if mode == "number":
            columns[name] = Column(name, _numbers(values, where, name, first, decimal))
        else:
            is_whole = forms is not None and name in forms and forms[name].form == "whole"
            columns[name] = _texts(values, where, name, first, is_whole=is_whole)
    lines: Array = np.arange(first, first + len(records))
    return Table(Path(where), columns, lines, "row")


def _numbers(values: Sequence[Any], where: str, name: str, first: int, decimal: str) -> Array:
    read = number if decimal == "." else number_with_comma
    found: Array = np.empty(len(values))
    for row, value in enumerate(values):
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            one: float | None = math.nan
        elif isinstance(value, (bool, int, float)):
            one = float(value) if not isinstance(value, int) or abs(value) <= LARGEST else math.inf
        else:
            one = read(value.strip()) if isinstance(value, str) else None
        if one is None:
            raise DataError(
                f"{place(where, first + row, name, 'row')}: {_short(value)} is not a number"
                "\n  the run was trained on numbers in this column"
            )
        if abs(one) > LARGEST:
            raise DataError(f"{place(where, first + row, name, 'row')}: {_short(value)} is not a finite float32 number")
        found[row] = one
    return found


def _texts(values: Sequence[Any], where: str, name: str, first: int, *, is_whole: bool) -> Column:
    codes: dict[str, int] = {}
    found: Array = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (Mapping, list, tuple, bytes)):
            raise DataError(f"{place(where, first + row, name, 'row')}: {_short(value)} is neither a text nor a number")
        found[row] = codes.setdefault(_text(value, is_whole=is_whole), len(codes))
    return Column(name, None, found, list(codes))


def _text(value: Any, *, is_whole: bool) -> str:
    """A value as the text of a cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and is_whole and value.is_integer():
        return str(int(value))  # pandas makes integers with missing values floats
    return value.isoformat() if isinstance(value, (date, time)) else str(value).strip()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text):,} characters)"
