"""Missing values of a table: rows are refused or left out, or the cells are filled in later."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import numpy as np

from wf.errors import DataError
from wf_datasets.tables.column import as_numbers
from wf_datasets.tables.roles import Roles
from wf_datasets.tables.table import Column, Table
from wf_datasets.tables.table_reader import Missing
from wf_datasets.tables.text.plain_rows import Array

_log = logging.getLogger(__name__)


def complete(table: Table, roles: Roles, missing: Missing, *, by_cells: bool) -> Table:
    """The table without missing values, except those that the mean will replace.

    Args:
        table: The table.
        roles: The role of each column.
        missing: The treatment of missing values.
        by_cells: Whether the target is a column of numbers if its cells are.
    """
    holes = {name: rows for name, column in table.columns.items() if (rows := column.missing).any()}
    target = table.columns[roles.targets[0]]
    numbers = as_numbers(target) if by_cells and target.codes is not None else None
    if numbers is not None and (rows := np.isnan(numbers)).any():
        holes[target.name] = rows
    if missing in ("mean", "fill"):
        filled = {name for name, rows in holes.items() if _can_fill(table.columns[name], rows, roles, missing)}
        holes = {name: rows for name, rows in holes.items() if name not in filled}
    if not holes:
        return table
    if missing != "drop":
        raise DataError(_missing_values(table, holes, missing))
    return _without(table, np.logical_or.reduce(list(holes.values())))


def _can_fill(column: Column, rows: Array, roles: Roles, missing: Missing) -> bool:
    if column.name not in roles.inputs or rows.all():
        return False
    return column.numbers is not None or missing == "fill"


def _missing_values(table: Table, holes: Mapping[str, Array], missing: Missing) -> str:
    counts = {name: int(rows.sum()) for name, rows in holes.items()}
    name, rows = next(iter(holes.items()))
    lines = [f"{table.place(int(np.argmax(rows)), name)}: the value is missing"]
    each = ", ".join(f"{num} in {one}" for one, num in counts.items())
    lines.append(f"{sum(counts.values())} missing in all: {each}")
    empty = [name for name, rows in holes.items() if rows.all()]
    if empty:
        listed = json.dumps(empty, ensure_ascii=False)
        lines.append(f"{', '.join(empty)} has no values; leave it out: --dataset.ignore '{listed}'")
    elif missing == "mean":
        lines.append("the mean can replace only numbers of an input column, and needs at least one of them")
        lines.append("leave the rows out: --dataset.missing drop; of categories: --dataset.missing fill")
    elif missing == "fill":
        lines.append("a target cannot be filled in; leave the rows out: --dataset.missing drop")
    else:
        lines.append(
            "leave the rows out: --dataset.missing drop; or replace it by the column's mean: --dataset.missing mean"
        )
    return "\n  ".join(lines)


def _without(table: Table, dropped: Array) -> Table:
    if dropped.all():
        raise DataError(f"{table.path}: every one of its {len(dropped)} rows has a missing value; none is left")
    _log.warning("%s: %d of %d rows have a missing value and are left out", table.path, dropped.sum(), len(dropped))
    return table.take(~dropped)
