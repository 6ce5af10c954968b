"""Columns of a file as targets: the cells are texts, numbers, booleans, or missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, unknown

_TRUE = {"true": 1.0, "false": 0.0}
Columns = Mapping[str, Sequence[Any]]


def class_indices(columns: Columns, class_names: Sequence[str], where: str, first: int) -> Tensor:
    """int64 ``[N]`` class indices of the cells; ``1`` and ``1.0`` are the same class, as in training.

    Raises:
        DataError: If a cell is not a class, or there is more than one column.
    """
    name, cells = only(columns, where)
    known = {str(one): index for index, one in enumerate(class_names)}
    known = {**{_key(one): index for one, index in known.items()}, **known}
    found = []
    for row, cell in enumerate(cells, first):
        text = "" if cell is None else str(cell).strip()
        index = known.get(text, known.get(_key(text)))
        if index is None:
            about = unknown("class", text or "(missing)", class_names, "the run was trained on these")
            raise DataError(f"{where}, row {row}, column '{name}': {about}")
        found.append(index)
    return torch.tensor(found)


def zero_one(columns: Columns, where: str, first: int) -> Tensor:
    """Floating ``[N, K]`` of zeros and ones.

    Raises:
        DataError: For anything else.
    """
    found = numbers(columns, where, first)
    wrong = torch.nonzero((found != 0) & (found != 1))
    if len(wrong):
        row, column = wrong[0].tolist()
        value = found[row, column].item()
        raise DataError(f"{where}, row {first + row}, column '{list(columns)[column]}': {value:g} is neither 0 nor 1")
    return found


def numbers(columns: Columns, where: str, first: int) -> Tensor:
    """Floating ``[N, K]``.

    Raises:
        DataError: If a cell is not a finite number.
    """
    found = []
    for name, cells in columns.items():
        column = [_number(cell) for cell in cells]
        for row, one in enumerate(column):
            if one is None or not math.isfinite(one):
                cell = cells[row]
                raise DataError(f"{where}, row {first + row}, column '{name}': the target {cell!r} is no finite number")
        found.append(column)
    return torch.tensor(found, dtype=torch.get_default_dtype()).T.contiguous()


def only(columns: Columns, where: str) -> tuple[str, Sequence[Any]]:
    """The only column.

    Raises:
        DataError: If there are several.
    """
    if len(columns) != 1:
        raise DataError(f"{where}: the run has one target column, and {len(columns)} are given: {', '.join(columns)}")
    return next(iter(columns.items()))


def _number(cell: Any) -> float | None:
    if isinstance(cell, str):
        cell = _TRUE.get(cell.strip().lower(), cell.strip())
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _key(text: str) -> str:
    """A key that is equal for spellings of the same class: ``1`` and ``1.0``, ``True`` and ``true``."""
    value = None if text.lower() in _TRUE else _number(text)
    return text.lower() if value is None else repr(value)
