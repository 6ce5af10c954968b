"""A table in a text file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from wf import FromRun
from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_base.figures import MAX_CLASSES, lost_in_float32
from wf_datasets.tables.cells import looks_like, number, number_with_comma
from wf_datasets.tables.column import categories
from wf_datasets.tables.dates import Dates, Feature
from wf_datasets.tables.dates import learned as dates_of
from wf_datasets.tables.missing import complete
from wf_datasets.tables.roles import Roles, Task, decimal_of, inferred, names_of, roles_of, tell_dialect
from wf_datasets.tables.table import Decimal, NotNumbersError, Table, place
from wf_datasets.tables.table_reader import InputColumn, Missing, TableReader, Unseen, not_numbers
from wf_datasets.tables.targets import targets_of
from wf_datasets.tables.text.table_file import TableFile


def csv_file(
    path: Path,
    target: str | list[str],
    ignore: str | tuple[str, ...] = (),
    categorical: str | tuple[str, ...] = (),
    missing: Missing = "error",
    task: Task = "auto",
    delimiter: str = "auto",
    decimal: Decimal = "auto",
    date: str | tuple[str, ...] = (),
    date_format: str = "auto",
    date_features: tuple[Feature, ...] = ("cyclic", "age"),
    embed: str | tuple[str, ...] = (),
    unseen: Unseen = "warn",
    infer: bool = False,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """A table in a UTF-8 text file; its first line names the columns.

    Every column that is neither a target nor ignored is an input: it must hold numbers (``true`` and ``false`` count as
    1 and 0) or be declared categorical or a date. In a column of numbers or dates an empty field, NA, N/A, NaN, null,
    None and ? are missing values; in a column of text an empty field and NaN are.

    Args:
        path: The file.
        target: The column to predict, or several: a regression on each, or labels if all hold only 0 and 1.
        ignore: Columns to leave out.
        categorical: Columns to one-hot encode, one input named ``column=value`` for each value, sorted; as a target:
            classes.
        missing: The treatment of missing values: ``error`` refuses them, ``drop`` leaves their rows out, ``mean``
            replaces a missing input number by the column's mean over the train split; ``fill`` does the same, and
            makes missing categories a separate category.
        task: ``auto`` is a classification if the target holds text or booleans, is declared categorical, or holds
            whole numbers that look like classes: each at least twice, and either two distinct ones or at most 20 that
            are consecutive from 0 or 1. Everything else is a regression.
        delimiter: The character between fields, or ``auto``: the one of ``,`` ``;`` tab ``|`` that divides the first
            line into the most fields.
        decimal: The decimal separator: ``.`` or ``,``; ``auto`` is a comma if the first rows have no number with a
            point and at least one that certainly has a decimal comma.
        date: Columns of dates, with or without a time of day.
        date_format: The format of dates: ``ymd``, ``dmy`` or ``mdy``, with ``-``, ``/`` or ``.`` between the parts;
            a format of Python's strptime; or ``auto``: the one of the three that fits all dates of a column.
        date_features: The numbers that a date becomes: ``parts`` (year, month, day, weekday, and hour and minute),
            ``age`` (days since the first date) and ``cyclic`` (sine and cosine of the year, the week and the day).
        embed: Categorical columns passed as integers, for embeddings, to a model that takes inputs ``numbers`` and
            ``categories`` (``--model tabular``); ``auto``: those with more than 20 values.
        unseen: The treatment of categories unseen in training: ``warn`` counts them and encodes them as none of the
            known ones, ``error`` refuses them.
        infer: Whether to infer categories and dates from the first 1,000 rows, and leave out empty columns. Numbers in
            other notations (``1.200,5``, ``$5``, ``12 kg``) are refused, not treated as categories.
        learned: For a resumed run: its description of the file, by which the file is read.

    Returns:
        Inputs float32 ``[N, F]``, or float64 if float32 cannot distinguish the numbers of a column; with embedded
        columns a dict with these as ``numbers`` and int64 ``[N, C]`` as ``categories``. Targets ``class_index``,
        ``real [N, K]`` or ``multilabel [N, K]``.

    Raises:
        DataError: For a missing or invalid file; the message names line, column and value.
        UsageError: For options that contradict each other.
    """
    known = None if learned is None or not learned.get("reader") else TableReader(**learned["reader"])
    names = names_of(target)
    wanted = [*names, *(column.name for column in known.columns)] if known else names
    file = TableFile(path, delimiter, wanted)
    roles = roles_of(file, names, ignore, categorical, known, date=date, embed=embed)
    roles = inferred(file, roles) if infer and known is None else roles
    point = decimal_of(file, roles, decimal, known)
    tell_dialect(file, delimiter, point if decimal == "auto" else ".")
    labelled = known is not None and learned is not None and learned["targets"] == "class_index"
    by_cells = len(names) == 1 and task == "auto" and names[0] not in roles.categorical and not labelled
    try:
        table = _read(file, roles, task, point, guess=by_cells)
    except _WrongGuessError:
        table = _read(TableFile(path, delimiter, wanted), roles, task, point, guess=False)
    dates = {} if known else {name: dates_of(table, name, date_format, date_features) for name in roles.dates}
    options = {"delimiter": delimiter, "missing": missing, "decimal": point, "unseen": unseen}
    reader = known or TableReader.of([InputColumn(name, dates=own) for name, own in dates.items()], **options)
    table = complete(reader.with_dates(table), roles, missing, by_cells=by_cells)
    if known is None:
        reader = _learn(file, table, roles, dates, options)
    targets = targets_of(table, roles, task, learned if known else None)
    return Dataset(
        train=TensorSamples(reader.encode(table), targets.tensor),
        targets=targets.kind,
        class_names=list(targets.class_names),
        feature_names=reader.feature_names,
        target_names=roles.targets if targets.kind == "real" else (),
        facts={"numbers": reader.feature_names, "categories": reader.sizes} if reader.sizes else {},
        reader=reader,
        transforms=reader.transforms(),
    )


class _WrongGuessError(Exception):
    """The target does not hold numbers only."""


def _read(file: TableFile, roles: Roles, task: Task, decimal: Literal[".", ","], *, guess: bool) -> Table:
    """The table of a file.

    Args:
        file: The file.
        roles: The role of each column.
        task: The task.
        decimal: The decimal separator.
        guess: Whether a target whose first rows have too many different numbers for classes is read as numbers rather
            than text.

    Raises:
        DataError: For cells that are not numbers.
        _WrongGuessError: If the target holds other values after all.
    """
    modes = roles.modes(task)
    if guess:
        as_number = number if decimal == "." else number_with_comma
        values = set(map(as_number, file.first(roles.targets[0])[0]))
        guess = None not in values and len(values) > MAX_CLASSES + 1  # one of them may be nan
        modes |= dict.fromkeys(roles.targets, "number") if guess else {}
    try:
        table = file.read(modes, decimal)
        return table if decimal == "." else _with_points(table, roles)
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


def _with_points(table: Table, roles: Roles) -> Table:
    """The table with the numbers of a text target converted to decimal points."""
    found = dict(table.columns)
    for name in {*roles.targets} - {*roles.categorical}:
        column = found[name]
        if column.codes is not None and all(number_with_comma(text) is not None for text in column.present()):
            found[name] = replace(column, texts=[text.replace(",", ".") for text in column.texts])
    return replace(table, columns=found)


def _learn(
    file: TableFile, table: Table, roles: Roles, dates: Mapping[str, Dates], options: Mapping[str, Any]
) -> TableReader:
    """The reader of the table's inputs."""
    columns, double = [], False
    for name in roles.inputs:
        column = table.columns[name]
        if column.numbers is None:
            found = categories(column.present())
            columns.append(InputColumn(name, found, roles.embeds(name, len(found.values))))
            continue
        columns.append(InputColumn(name, dates=dates.get(name)))
        numbers = dates[name].numbers(column.numbers) if name in dates else column.numbers.reshape(-1, 1)
        double = double or bool(lost_in_float32(torch.from_numpy(numbers)))
    others = [name for name in file.header if name not in roles.inputs]
    return TableReader.of(columns, double=double, others=others, **options)
