"""The targets of a table: classes, real numbers, or several labels of 0 and 1."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, unknown
from wf_base.figures import MAX_CLASSES, are_classes, regression_hint
from wf_datasets.tables.cells import looks_like, number
from wf_datasets.tables.column import Categories, as_numbers, categories, is_zero_one
from wf_datasets.tables.roles import Roles, Task
from wf_datasets.tables.table import Column, Table
from wf_datasets.tables.text.plain_rows import Array

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Targets:
    """The targets in the form of their task."""

    kind: Literal["class_index", "real", "multilabel"]
    tensor: Tensor
    class_names: Sequence[str] = ()


def targets_of(table: Table, roles: Roles, task: Task, learned: Mapping[str, Any] | None) -> Targets:
    """The targets of a table.

    Args:
        table: The table, without missing targets.
        roles: The role of each column.
        task: The task; with ``auto`` the cells decide.
        learned: For a resumed run: its description of the file.

    Raises:
        DataError: For cells that do not fit the task, or the classes of the resumed run.
    """
    columns = [table.columns[name] for name in roles.targets]
    if columns[0].codes is not None:
        return _one_target(table, columns[0], columns[0].name in roles.categorical, task, learned)
    numbers = [column.numbers for column in columns if column.numbers is not None]
    tensor = torch.from_numpy(np.stack(numbers, axis=1)).to(torch.float32)
    if len(columns) > 1 and task != "regression":
        zero_one = list(map(is_zero_one, numbers))
        if all(zero_one):
            return Targets("multilabel", tensor, roles.targets)
        if task == "classification":
            raise DataError(
                f"{table.path}: a classification on several targets needs only 0 and 1, unlike "
                f"'{roles.targets[zero_one.index(False)]}'"
            )
    if len(columns) == 1 and task == "auto" and learned is None:
        _tell_regression(table, columns[0], numbers[0])
    return Targets("real", tensor)


def _tell_regression(table: Table, column: Column, numbers: Array) -> None:
    if hint := regression_hint(numbers):
        _log.warning("%s: the target '%s' %s", table.path, column.name, hint)


def _one_target(
    table: Table, column: Column, categorical: bool, task: Task, learned: Mapping[str, Any] | None
) -> Targets:
    """The targets from a column that was read as text, because it may hold classes."""
    task = "classification" if categorical else task
    numbers = None if categorical else as_numbers(column)
    if numbers is not None:
        _check_finite(table, column, numbers)
    chosen = learned["targets"] if learned else None
    if chosen is None:
        chosen = "class_index" if task == "classification" or numbers is None or _is_classes(column) else "real"
    if chosen == "class_index":
        found = _classes(table, column, numbers, task, learned)
        return Targets("class_index", torch.from_numpy(found.indices(column)), found.values)
    if numbers is None:
        raise DataError(f"{table.path}: the target '{column.name}' holds text now; the run was trained on numbers")
    if task == "auto" and learned is None:
        _tell_regression(table, column, numbers)
    return Targets("real", torch.from_numpy(numbers).to(torch.float32).unsqueeze(1))


def _check_finite(table: Table, column: Column, numbers: Array) -> None:
    with np.errstate(over="ignore"):
        infinite = np.flatnonzero(np.isinf(numbers.astype(np.float32)))
    if len(infinite):
        row = int(infinite[0])
        assert column.codes is not None
        cell = column.texts[int(column.codes[row])]
        raise DataError(f"{table.place(row, column.name)}: {cell} is not a finite float32 number")


def _is_classes(column: Column) -> bool:
    """Whether a target column of numbers names classes: booleans, codes with leading zeros, or few consecutive
    numbers."""
    found = categories(column.present(), numbers=True)
    if found.form in ("boolean", "number"):
        return found.form == "boolean"
    numbers = map(int, found.values) if found.form == "whole" else range(len(found.values))
    return are_classes(dict(zip(numbers, np.bincount(found.indices(column)).tolist(), strict=True)))


def _classes(
    table: Table, column: Column, numbers: Array | None, task: Task, learned: Mapping[str, Any] | None
) -> Categories:
    texts = column.present()
    if numbers is None and task == "auto" and learned is None and len(texts) > 1:
        _check_written_numbers(table, column, texts)
    found = categories(texts, numbers=numbers is not None)
    if learned is not None:
        known = Categories(tuple(learned["class_names"]), found.form)
        strange = np.flatnonzero(known.indices(column) < 0)
        if len(strange):
            row = int(strange[0])
            assert column.codes is not None
            cell = column.texts[int(column.codes[row])]
            hint = "the run was trained without it"
            raise DataError(f"{table.place(row, column.name)}: {unknown('class', cell, known.values, hint)}")
        return known
    if len(found.values) < 2:
        raise DataError(
            f"{table.path}: the target '{column.name}' has only one class ({found.values[0]})\n"
            "  choose another target, or --dataset.task regression"
        )
    return found


def _check_written_numbers(table: Table, column: Column, texts: Sequence[str]) -> None:
    """Refuse numbers in an unsupported format: each would become a class."""
    odd = {text for text in texts if number(text) is None}
    few = len(texts) - len(odd) > MAX_CLASSES and 10 * len(odd) <= len(texts)
    if not few and None in map(looks_like, texts):
        return
    assert column.codes is not None
    row = int(np.argmax(np.isin(column.codes, [code for code in column.used() if column.texts[code] in odd])))
    cell = column.texts[int(column.codes[row])]
    lines = [f"{table.place(row, column.name)}: '{cell}' is not a number"]
    lines += [f"almost all of the {len(texts):,} different values of the column are"] if few else []
    lines += [f"it looks like {look[0]}: {look[1]}"] if (look := looks_like(cell)) else []
    raise DataError("\n  ".join([*lines, "or treat each text as a class: --dataset.task classification"]))
