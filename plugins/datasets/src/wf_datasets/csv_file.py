"""A table in a text file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_base import Dataset, TensorSamples
from wf_base.figures import MAX_CLASSES, are_classes, lost_in_float32, regression_hint
from wf_datasets.cells import looks_like, number
from wf_datasets.column import Categories, as_numbers, categories, is_zero_one
from wf_datasets.fill import Missing
from wf_datasets.plain_rows import Array
from wf_datasets.table import Column, Mode, NotNumbersError, Table, TableFile, place
from wf_datasets.table_reader import InputColumn, TableReader, not_numbers

_log = logging.getLogger(__name__)

Task = Literal["auto", "classification", "regression"]
_FIRST = 1000
"""Rows that a first look takes."""


def csv_file(
    path: Path,
    target: str | list[str],
    ignore: str | tuple[str, ...] = (),
    categorical: str | tuple[str, ...] = (),
    missing: Missing = "error",
    task: Task = "auto",
    delimiter: str = "auto",
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """A table in a UTF-8 text file; its first line names the columns.

    Every column that is neither a target nor ignored is an input: it must hold numbers (``true`` and ``false`` count as
    1 and 0) or be declared categorical. In a column of numbers an empty field, NA, N/A, NaN, null, None and ? are
    missing values; in a column of text an empty field and NaN are.

    Args:
        path: The file.
        target: The column to predict, or several: a regression on each, or labels where all hold only 0 and 1.
        ignore: Columns to leave out.
        categorical: Columns to one-hot encode, one input named ``column=value`` for each value, sorted; as a target:
            classes.
        missing: What becomes of missing values: ``error`` refuses them, ``drop`` leaves their rows out, ``mean`` puts
            the mean of the column, over the train split, in place of a missing input number.
        task: ``auto`` is a classification where the target holds text or booleans, is declared categorical, or holds
            whole numbers that look like classes: each at least twice, and either two distinct ones or at most 20 that
            follow one another from 0 or 1. Everything else is a regression.
        delimiter: The character between fields, or ``auto``: the one of ``,`` ``;`` tab ``|`` that divides the first
            line into the most fields.
        learned: What the run learned from the file when it began; then the file is read by that.

    Returns:
        Inputs float32 ``[N, F]``, or float64 where float32 would not keep the numbers of a column apart; targets
        ``class_index``, ``real [N, K]`` or ``multilabel [N, K]``.

    Raises:
        DataError: For a file that is missing or invalid; the message names line, column and value.
        UsageError: For options that contradict each other.
    """
    known = None if learned is None or not learned.get("reader") else TableReader(**learned["reader"])
    names = _names(target)
    wanted = [*names, *(column.name for column in known.columns)] if known else names
    file = TableFile(path, delimiter, wanted)
    roles = _roles(file, names, _names(ignore), _names(categorical), known)
    labelled = known is not None and learned is not None and learned["targets"] == "class_index"
    by_cells = len(names) == 1 and task == "auto" and names[0] not in roles.categorical and not labelled
    try:
        table = _read(file, roles, task, guess=by_cells)
    except _WrongGuessError:
        table = _read(TableFile(path, delimiter, wanted), roles, task, guess=False)
    table = _complete(table, roles, missing, by_cells=by_cells)
    reader = known or _learn(table, roles, delimiter, missing)
    targets = _targets(table, roles, task, learned if known else None)
    return Dataset(
        train=TensorSamples(reader.encode(table), targets.tensor),
        targets=targets.kind,
        class_names=list(targets.class_names),
        feature_names=reader.feature_names,
        target_names=roles.targets if targets.kind == "real" else (),
        reader=reader,
        transforms=reader.transforms(),
    )


@dataclass(frozen=True)
class _Roles:
    """What each column is for."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    categorical: tuple[str, ...]

    def modes(self, task: Task) -> dict[str, Mode]:
        """What each column is read as."""
        modes: dict[str, Mode] = {name: "text" if name in self.categorical else "number" for name in self.inputs}
        numbers = task == "regression" or len(self.targets) > 1
        return modes | dict.fromkeys(self.targets, "number" if numbers else "text")


class _WrongGuessError(Exception):
    """The target does not hold numbers only."""


@dataclass(frozen=True)
class _Targets:
    kind: Literal["class_index", "real", "multilabel"]
    tensor: Tensor
    class_names: Sequence[str] = ()


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _roles(
    file: TableFile,
    targets: tuple[str, ...],
    ignore: tuple[str, ...],
    categorical: tuple[str, ...],
    known: TableReader | None,
) -> _Roles:
    if not targets or len(set(targets)) < len(targets):
        raise UsageError(f"csv: target is {list(targets)}; it must name one column, or several different ones")
    if known is not None:
        inputs = tuple(column.name for column in known.columns)
        _check_columns(file, "target", targets)
        _check_columns(file, "path", inputs)
        return _Roles(targets, inputs, tuple(column.name for column in known.columns if column.mode == "text"))
    for option, names in (("target", targets), ("ignore", ignore), ("categorical", categorical)):
        _check_columns(file, option, names)
    for name in set(targets) & set(ignore):
        raise UsageError(f"csv: column '{name}' is both target and ignored")
    inputs = tuple(name for name in file.header if name not in {*targets, *ignore})
    if not inputs:
        raise DataError(f"{file.path}: no column is left as an input; its columns: {', '.join(file.header)}")
    if "" in inputs:
        raise DataError(
            f"{file.path}: column {file.header.index('') + 1} has no name (often a row number)\n"
            "  name it in the first line, or leave it out: --dataset.ignore '[\"\"]'"
        )
    return _Roles(targets, inputs, categorical)


def _check_columns(file: TableFile, option: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in file.header:
            hint = f"set it with --dataset.{option}; the first line of the file must name the columns"
            parts = [part.strip() for part in name.split(",")]
            if set(parts) <= set(file.header):
                hint = f"several columns are a list: --dataset.{option} '{json.dumps(parts, ensure_ascii=False)}'"
            raise DataError(f"{file.path}: {unknown('column', name, file.header, hint)}")


def _read(file: TableFile, roles: _Roles, task: Task, *, guess: bool) -> Table:
    """The table of a file.

    Args:
        file: The file.
        roles: What each column is for.
        task: The task.
        guess: Whether a target with more different numbers in its first rows than there are classes is read as
            numbers, rather than as a text for each of them.

    Raises:
        DataError: For cells that are not numbers.
        _WrongGuessError: When the target holds others after all.
    """
    modes = roles.modes(task)
    if guess:
        values = set(map(number, file.first(roles.targets[0], _FIRST)))
        guess = None not in values and len(values) > MAX_CLASSES + 1  # nan may be one
        modes |= dict.fromkeys(roles.targets, "number") if guess else {}
    try:
        return file.read(modes)
    except NotNumbersError as error:
        if guess and list(error.found) == list(roles.targets):
            raise _WrongGuessError from error
        inputs = {name: cell for name, cell in error.found.items() if name in roles.inputs}
        if inputs:
            raise DataError(not_numbers(file, inputs)) from error
        name, (line, cell) = next(iter(error.found.items()))
        why = "a regression needs" if task == "regression" else "several targets must hold"
        look = looks_like(cell)
        more = f"\n  it looks like {look[0]}: {look[1]}" if look else ""
        raise DataError(f"{place(file.path, line, name)}: '{cell}' is not a number; {why} numbers{more}") from error


def _complete(table: Table, roles: _Roles, missing: Missing, *, by_cells: bool) -> Table:
    """The table without missing values, except those that the mean will stand in for.

    Args:
        table: The table.
        roles: What each column is for.
        missing: What becomes of missing values.
        by_cells: Whether the target is a column of numbers if its cells are.
    """
    holes = {name: rows for name, column in table.columns.items() if (rows := column.missing).any()}
    target = table.columns[roles.targets[0]]
    numbers = as_numbers(target) if by_cells and target.codes is not None else None
    if numbers is not None and (rows := np.isnan(numbers)).any():
        holes[target.name] = rows
    if missing == "mean":
        filled = {name for name, rows in holes.items() if _can_fill(table.columns[name], rows, roles)}
        holes = {name: rows for name, rows in holes.items() if name not in filled}
    if not holes:
        return table
    if missing != "drop":
        raise DataError(_missing_values(table, holes, missing))
    return _without(table, np.logical_or.reduce(list(holes.values())))


def _can_fill(column: Column, missing: Array, roles: _Roles) -> bool:
    return column.name in roles.inputs and column.numbers is not None and not missing.all()


def _missing_values(table: Table, holes: Mapping[str, Array], missing: Missing) -> str:
    counts = {name: int(rows.sum()) for name, rows in holes.items()}
    name, rows = next(iter(holes.items()))
    lines = [f"{table.place(int(np.argmax(rows)), name)}: the value is missing"]
    each = ", ".join(f"{num} in {one}" for one, num in counts.items())
    lines.append(f"{sum(counts.values())} missing in all: {each}")
    if missing == "mean":
        lines.append("the mean can stand in for numbers of an input column only, and needs at least one of them")
        lines.append("leave the rows out: --dataset.missing drop")
    else:
        lines.append(
            "leave the rows out: --dataset.missing drop; or put the column's mean there: --dataset.missing mean"
        )
    return "\n  ".join(lines)


def _without(table: Table, dropped: Array) -> Table:
    if dropped.all():
        raise DataError(f"{table.path}: every one of its {len(dropped)} rows has a missing value; none is left")
    _log.warning("%s: %d of %d rows have a missing value and are left out", table.path, dropped.sum(), len(dropped))
    return table.take(~dropped)


def _learn(table: Table, roles: _Roles, delimiter: str, missing: Missing) -> TableReader:
    """The reader of the table's inputs."""
    columns, double = [], False
    for name in roles.inputs:
        column = table.columns[name]
        columns.append(InputColumn(name, None if column.codes is None else categories(column.present())))
        if column.numbers is not None:
            double = double or bool(lost_in_float32(torch.from_numpy(column.numbers).unsqueeze(1)))
    return TableReader.of(columns, delimiter, missing, double=double)


def _targets(table: Table, roles: _Roles, task: Task, learned: Mapping[str, Any] | None) -> _Targets:
    columns = [table.columns[name] for name in roles.targets]
    if columns[0].codes is not None:
        return _one_target(table, columns[0], columns[0].name in roles.categorical, task, learned)
    numbers = [column.numbers for column in columns if column.numbers is not None]
    tensor = torch.from_numpy(np.stack(numbers, axis=1)).to(torch.float32)
    if len(columns) > 1 and task != "regression":
        zero_one = list(map(is_zero_one, numbers))
        if all(zero_one):
            return _Targets("multilabel", tensor, roles.targets)
        if task == "classification":
            raise DataError(
                f"{table.path}: a classification on several targets needs 0 and 1, "
                f"not so in '{roles.targets[zero_one.index(False)]}'"
            )
    if len(columns) == 1 and task == "auto" and learned is None:
        _tell_regression(table, columns[0], numbers[0])
    return _Targets("real", tensor)


def _tell_regression(table: Table, column: Column, numbers: Array) -> None:
    if hint := regression_hint(numbers):
        _log.warning("%s: the target '%s' %s", table.path, column.name, hint)


def _one_target(
    table: Table, column: Column, categorical: bool, task: Task, learned: Mapping[str, Any] | None
) -> _Targets:
    """A target column that was read as text, because it may hold classes."""
    task = "classification" if categorical else task
    numbers = None if categorical else as_numbers(column)
    if numbers is not None:
        _check_finite(table, column, numbers)
    chosen = learned["targets"] if learned else None
    if chosen is None:
        chosen = "class_index" if task == "classification" or numbers is None or _is_classes(column) else "real"
    if chosen == "class_index":
        found = _classes(table, column, numbers, task, learned)
        return _Targets("class_index", torch.from_numpy(found.indices(column)), found.values)
    if numbers is None:
        raise DataError(f"{table.path}: the target '{column.name}' holds text now; the run was trained on numbers")
    if task == "auto" and learned is None:
        _tell_regression(table, column, numbers)
    return _Targets("real", torch.from_numpy(numbers).to(torch.float32).unsqueeze(1))


def _check_finite(table: Table, column: Column, numbers: Array) -> None:
    with np.errstate(over="ignore"):
        infinite = np.flatnonzero(np.isinf(numbers.astype(np.float32)))
    if len(infinite):
        row = int(infinite[0])
        assert column.codes is not None
        cell = column.texts[int(column.codes[row])]
        raise DataError(f"{table.place(row, column.name)}: {cell} is not a finite float32 number")


def _is_classes(column: Column) -> bool:
    """Whether a target column of numbers names classes: booleans, codes with leading zeros, and counted ones."""
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
            f"{table.path}: the target '{column.name}' has one class only ({found.values[0]})\n"
            "  choose another target, or --dataset.task regression"
        )
    return found


def _check_written_numbers(table: Table, column: Column, texts: Sequence[str]) -> None:
    """Refuse numbers of which all, or some of very many, are in a spelling that is not read: each would be a class."""
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
    raise DataError("\n  ".join([*lines, "or take each text for a class: --dataset.task classification"]))
