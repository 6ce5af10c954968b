"""A table in a text file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from wf.errors import DataError, UsageError, unknown
from wf.runtime import Dataset, TensorSamples
from wf_datasets.column import Column, is_classes, is_zero_one, labels, number_column, one_hot, text_column
from wf_datasets.table import Table, read_table

_log = logging.getLogger(__name__)

Task = Literal["auto", "classification", "regression"]
Missing = Literal["error", "drop", "mean"]


def csv_file(
    path: Path,
    target: str | list[str],
    ignore: str | tuple[str, ...] = (),
    categorical: str | tuple[str, ...] = (),
    missing: Missing = "error",
    task: Task = "auto",
    delimiter: str = "auto",
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
            the mean of the column (over the whole file) in place of a missing input number.
        task: ``auto`` is a classification where the target holds text or booleans, is declared categorical, or holds
            whole numbers that look like classes: each at least twice, and either two distinct ones or at most 20 that
            follow one another from 0 or 1. Everything else is a regression.
        delimiter: The character between fields, or ``auto``: the one of ``,`` ``;`` tab ``|`` that divides the first
            line into the most fields.

    Returns:
        Inputs float32 ``[N, F]``; targets ``class_index``, ``real [N, K]`` or ``multilabel [N, K]``.

    Raises:
        DataError: For a file that is missing or invalid; the message names line, column and value.
        UsageError: For options that contradict each other.
    """
    table = read_table(path, delimiter)
    roles = _roles(table, _names(target), _names(ignore), _names(categorical))
    parsed = _Parsed(table, _inputs(table, roles), _targets(table, roles, task))
    parsed = _complete(parsed, missing)
    inputs, feature_names = _encode(parsed.inputs)
    return _dataset(parsed, inputs, feature_names, task)


@dataclass(frozen=True)
class _Roles:
    """What each column is for."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    categorical: tuple[str, ...]


@dataclass(frozen=True)
class _Parsed:
    """The columns in use."""

    table: Table
    inputs: list[Column]
    targets: list[Column]


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _roles(table: Table, targets: tuple[str, ...], ignore: tuple[str, ...], categorical: tuple[str, ...]) -> _Roles:
    if not targets or len(set(targets)) < len(targets):
        raise UsageError(f"csv: target is {list(targets)}; it must name one column, or several different ones")
    for option, names in (("target", targets), ("ignore", ignore), ("categorical", categorical)):
        _check_columns(table, option, names)
    for name in set(targets) & set(ignore):
        raise UsageError(f"csv: column '{name}' is both target and ignored")
    inputs = tuple(name for name in table.columns if name not in {*targets, *ignore})
    if not inputs:
        raise DataError(f"{table.path}: no column is left as an input; its columns: {', '.join(table.columns)}")
    if "" in inputs:
        raise DataError(
            f"{table.path}: column {list(table.columns).index('') + 1} has no name (often a row number)\n"
            "  name it in the first line, or leave it out: --dataset.ignore '[\"\"]'"
        )
    return _Roles(targets, inputs, categorical)


def _check_columns(table: Table, option: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in table.columns:
            hint = f"set it with --dataset.{option}; the first line of the file must name the columns"
            raise DataError(f"{table.path}: {unknown('column', name, table.columns, hint)}")


def _inputs(table: Table, roles: _Roles) -> list[Column]:
    columns, wrong = [], {}
    for name in roles.inputs:
        column = text_column(table, name) if name in roles.categorical else number_column(table, name)
        if isinstance(column, int):
            wrong[name] = column
        else:
            columns.append(column)
    if wrong:
        name, row = next(iter(wrong.items()))
        raise DataError(_not_a_number(table, name, row, list(wrong)))
    return columns


def _not_a_number(table: Table, name: str, row: int, names: list[str]) -> str:
    listed = ", ".join(f'"{one}"' for one in names)
    lines = [f"{table.place(row, name)}: '{table.columns[name][row]}' is not a number"]
    if len(names) > 1:
        lines.append(f"text stands in {len(names)} columns: {', '.join(names)}")
    lines.append(f"one-hot encode it: --dataset.categorical '[{listed}]'")
    lines.append(f"or leave it out: --dataset.ignore '[{listed}]'")
    return "\n  ".join(lines)


def _targets(table: Table, roles: _Roles, task: Task) -> list[Column]:
    columns = []
    for name in roles.targets:
        column = number_column(table, name)
        if isinstance(column, int):
            if task == "regression" or len(roles.targets) > 1:
                why = "a regression needs" if task == "regression" else "several targets must hold"
                value = table.columns[name][column]
                raise DataError(f"{table.place(column, name)}: '{value}' is not a number; {why} numbers")
            column = text_column(table, name)
        elif name in roles.categorical and task != "regression":
            column = text_column(table, name)
        columns.append(column)
    return columns


def _complete(parsed: _Parsed, missing: Missing) -> _Parsed:
    """The columns without missing values."""
    if missing == "mean":
        parsed = replace(parsed, inputs=[_fill(column) for column in parsed.inputs])
    holes = {column.name: rows for column in (*parsed.inputs, *parsed.targets) if (rows := column.missing)}
    if not holes:
        return parsed
    if missing != "drop":
        raise DataError(_missing_values(parsed.table, holes, missing))
    return _without(parsed, set().union(*holes.values()))


def _fill(column: Column) -> Column:
    """A column of numbers with its mean for each missing one; one without any number stays as it is."""
    if column.numbers is None or column.numbers.isnan().all():
        return column
    return column.fill(float(column.numbers.nanmean()))


def _missing_values(table: Table, holes: dict[str, list[int]], missing: Missing) -> str:
    count = sum(map(len, holes.values()))
    name, rows = next(iter(holes.items()))
    lines = [f"{table.place(rows[0], name)}: the value is missing"]
    lines.append(f"{count} missing in all: {', '.join(f'{len(rows)} in {name}' for name, rows in holes.items())}")
    if missing == "mean":
        lines.append("the mean can stand in for numbers of an input column only, and needs at least one of them")
        lines.append("leave the rows out: --dataset.missing drop")
    else:
        lines.append(
            "leave the rows out: --dataset.missing drop; or put the column's mean there: --dataset.missing mean"
        )
    return "\n  ".join(lines)


def _without(parsed: _Parsed, dropped: set[int]) -> _Parsed:
    num_rows = len(parsed.table.lines)
    kept = [row for row in range(num_rows) if row not in dropped]
    if not kept:
        raise DataError(f"{parsed.table.path}: every one of its {num_rows} rows has a missing value; none is left")
    _log.warning("%s: %d of %d rows have a missing value and are left out", parsed.table.path, len(dropped), num_rows)
    return _Parsed(
        replace(parsed.table, lines=[parsed.table.lines[row] for row in kept]),
        [column.take(kept) for column in parsed.inputs],
        [column.take(kept) for column in parsed.targets],
    )


def _encode(columns: list[Column]) -> tuple[Tensor, list[str]]:
    parts: list[Tensor] = []
    names: list[str] = []
    for column in columns:
        if column.numbers is None:
            part, part_names = one_hot(column)
        else:
            part, part_names = column.numbers.to(torch.float32).unsqueeze(1), [column.name]
        parts.append(part)
        names.extend(part_names)
    return torch.cat(parts, dim=1), names


def _dataset(parsed: _Parsed, inputs: Tensor, feature_names: list[str], task: Task) -> Dataset:
    targets, names = parsed.targets, [column.name for column in parsed.targets]
    if len(targets) == 1 and (task == "classification" or (task == "auto" and is_classes(targets[0]))):
        indices, class_names = labels(targets[0])
        _check_classes(parsed.table.path, names[0], class_names)
        samples = TensorSamples(inputs, indices)
        return Dataset(train=samples, targets="class_index", class_names=class_names, feature_names=feature_names)
    numbers = torch.stack([column.numbers for column in targets if column.numbers is not None], dim=1)
    samples = TensorSamples(inputs, numbers.to(torch.float32))
    if len(targets) > 1 and task != "regression":
        zero_one = [is_zero_one(column) for column in targets]
        if all(zero_one):
            return Dataset(train=samples, targets="multilabel", class_names=names, feature_names=feature_names)
        if task == "classification":
            name = names[zero_one.index(False)]
            raise DataError(
                f"{parsed.table.path}: a classification on several targets needs 0 and 1, not so in '{name}'"
            )
    return Dataset(train=samples, targets="real", target_names=names, feature_names=feature_names)


def _check_classes(path: Path, name: str, class_names: list[str]) -> None:
    if len(class_names) < 2:
        raise DataError(
            f"{path}: the target '{name}' has one class only ({class_names[0]})\n"
            "  choose another target, or --dataset.task regression"
        )
