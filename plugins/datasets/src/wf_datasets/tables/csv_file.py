"""A table in a text file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_base import Dataset, TensorSamples
from wf_base.figures import MAX_CLASSES, are_classes, lost_in_float32, regression_hint
from wf_datasets.tables.cells import has_decimal_comma, looks_like, number, number_with_comma
from wf_datasets.tables.column import Categories, as_numbers, categories, is_zero_one
from wf_datasets.tables.dates import Dates, Feature, is_date
from wf_datasets.tables.dates import learned as dates_of
from wf_datasets.tables.plain_rows import Array
from wf_datasets.tables.table import Column, Decimal, Mode, NotNumbersError, Table, place
from wf_datasets.tables.table_reader import InputColumn, Missing, TableReader, Unseen, not_numbers
from wf_datasets.tables.text.table_file import TableFile

_log = logging.getLogger(__name__)
_TOLD = logging.getLogger("wf")
"""Log messages that are shown unless a run is quiet."""

Task = Literal["auto", "classification", "regression"]
_MANY = 20
"""With ``auto``, a column with more categories than this is embedded."""


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
    names = _names(target)
    wanted = [*names, *(column.name for column in known.columns)] if known else names
    file = TableFile(path, delimiter, wanted)
    roles = _roles(file, names, _names(ignore), _names(categorical), known, dates=_names(date), embed=_names(embed))
    roles = _inferred(file, roles) if infer and known is None else roles
    point = _decimal(file, roles, decimal, known)
    _tell_dialect(file, delimiter, point if decimal == "auto" else ".")
    labelled = known is not None and learned is not None and learned["targets"] == "class_index"
    by_cells = len(names) == 1 and task == "auto" and names[0] not in roles.categorical and not labelled
    try:
        table = _read(file, roles, task, point, guess=by_cells)
    except _WrongGuessError:
        table = _read(TableFile(path, delimiter, wanted), roles, task, point, guess=False)
    dates = {} if known else {name: dates_of(table, name, date_format, date_features) for name in roles.dates}
    options = {"delimiter": delimiter, "missing": missing, "decimal": point, "unseen": unseen}
    reader = known or TableReader.of([InputColumn(name, dates=own) for name, own in dates.items()], **options)
    table = _complete(reader.with_dates(table), roles, missing, by_cells=by_cells)
    if known is None:
        reader = _learn(file, table, roles, dates, options)
    targets = _targets(table, roles, task, learned if known else None)
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


@dataclass(frozen=True)
class _Roles:
    """The role of each column."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    categorical: tuple[str, ...]
    dates: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()
    """The embedded columns among the categorical ones; or only ``auto``."""

    def modes(self, task: Task) -> dict[str, Mode]:
        """The type that each column is read as."""
        text = {*self.categorical, *self.dates}
        modes: dict[str, Mode] = {name: "text" if name in text else "number" for name in self.inputs}
        numbers = task == "regression" or len(self.targets) > 1
        return modes | dict.fromkeys(self.targets, "number" if numbers else "text")

    def embeds(self, name: str, num: int) -> bool:
        """Whether a column with `num` categories is embedded."""
        return num > _MANY if self.embed == ("auto",) else name in self.embed


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
    *,
    dates: tuple[str, ...] = (),
    embed: tuple[str, ...] = (),
) -> _Roles:
    if not targets or len(set(targets)) < len(targets):
        raise UsageError(f"csv: target is {list(targets)}; it must name one column, or several different ones")
    if known is not None:
        inputs = tuple(column.name for column in known.columns)
        _check_columns(file, "target", targets)
        _check_columns(file, "path", inputs)
        of_text = [column for column in known.columns if column.mode == "text"]
        return _Roles(
            targets,
            inputs,
            tuple(column.name for column in of_text if column.dates is None),
            tuple(column.name for column in of_text if column.dates is not None),
        )
    embedded = () if embed == ("auto",) else embed
    given = {"target": targets, "ignore": ignore, "categorical": categorical, "date": dates, "embed": embedded}
    for option, names in given.items():
        _check_columns(file, option, names)
    for one, other in _APART:
        for name in sorted(set(given[one]) & set(given[other])):
            raise UsageError(f"csv: column '{name}' is both {_WORDS[one]} and {_WORDS[other]}")
    inputs = tuple(name for name in file.header if name not in {*targets, *ignore})
    if not inputs:
        raise DataError(f"{file.path}: no column is left as an input; its columns: {', '.join(file.header)}")
    if "" in inputs:
        raise DataError(
            f"{file.path}: column {file.header.index('') + 1} has no name (often a row number)\n"
            "  name it in the first line, or leave it out: --dataset.ignore '[\"\"]'"
        )
    return _Roles(targets, inputs, tuple(dict.fromkeys((*categorical, *embedded))), dates, embed)


_APART = (
    *(("target", "ignore"), ("target", "date"), ("target", "embed")),
    *(("ignore", "date"), ("ignore", "embed"), ("categorical", "date"), ("embed", "date")),
)
_WORDS = {
    "target": "target",
    "ignore": "ignored",
    "date": "a date",
    "embed": "embedded",
    "categorical": "categorical",
}


def _inferred(file: TableFile, roles: _Roles) -> _Roles:
    """The roles, with text, dates and empty columns inferred from the first rows."""
    open_ones = [name for name in roles.inputs if name not in {*roles.categorical, *roles.dates}]
    found: dict[str, list[str]] = {"dates": [], "categorical": [], "empty": []}
    for name, cells in zip(open_ones, file.first(*open_ones), strict=True):
        there = [cell for cell in cells if (value := number(cell)) is None or not math.isnan(value)]
        if not there:
            found["empty"] += [name] if cells else []
        elif all(number(cell) is None for cell in there) and all(map(is_date, there)):
            found["dates"].append(name)
        elif any(number(cell) is None and looks_like(cell) is None for cell in there) and not has_decimal_comma(there):
            found["categorical"].append(name)
    for words, names in (("dates", "dates"), ("categories", "categorical"), ("left out, as they are empty", "empty")):
        if found[names]:
            _TOLD.info("%s: %s: %s", file.path, words, ", ".join(found[names]))
    inputs = tuple(name for name in roles.inputs if name not in found["empty"])
    if not inputs:
        raise DataError(f"{file.path}: no column is left as an input: all are empty")
    return replace(
        roles,
        inputs=inputs,
        categorical=(*roles.categorical, *found["categorical"]),
        dates=(*roles.dates, *found["dates"]),
    )


def _decimal(file: TableFile, roles: _Roles, decimal: Decimal, known: TableReader | None) -> Literal[".", ","]:
    """The decimal separator."""
    if decimal != "auto":
        return decimal
    text = {*roles.categorical, *roles.dates}
    columns = [name for name in (*roles.inputs, *roles.targets) if name not in text]
    return file.decimal(columns, "." if known is None else known.decimal)


def _tell_dialect(file: TableFile, delimiter: str, decimal: str) -> None:
    """Report unusual properties of a file's format."""
    usual = "\t" if file.path.suffix.lower() == ".tsv" else ","
    found = []
    if delimiter == "auto" and file.delimiter != usual:
        found.append(f"fields divided by {'tabs' if file.delimiter == chr(9) else repr(file.delimiter)}")
    if decimal == ",":
        found.append("numbers with a decimal comma")
    if found:
        _TOLD.info("%s: %s", file.path, ", ".join(found))


def _check_columns(file: TableFile, option: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in file.header:
            hint = f"set it with --dataset.{option}; the first line of the file must name the columns"
            parts = [part.strip() for part in name.split(",")]
            if set(parts) <= set(file.header):
                hint = f"several columns are a list: --dataset.{option} '{json.dumps(parts, ensure_ascii=False)}'"
            raise DataError(f"{file.path}: {unknown('column', name, file.header, hint)}")


def _read(file: TableFile, roles: _Roles, task: Task, decimal: Literal[".", ","], *, guess: bool) -> Table:
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


def _with_points(table: Table, roles: _Roles) -> Table:
    """The table with the numbers of a text target converted to decimal points."""
    found = dict(table.columns)
    for name in {*roles.targets} - {*roles.categorical}:
        column = found[name]
        if column.codes is not None and all(number_with_comma(text) is not None for text in column.present()):
            found[name] = replace(column, texts=[text.replace(",", ".") for text in column.texts])
    return replace(table, columns=found)


def _complete(table: Table, roles: _Roles, missing: Missing, *, by_cells: bool) -> Table:
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


def _can_fill(column: Column, rows: Array, roles: _Roles, missing: Missing) -> bool:
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


def _learn(
    file: TableFile, table: Table, roles: _Roles, dates: Mapping[str, Dates], options: Mapping[str, Any]
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
                f"{table.path}: a classification on several targets needs only 0 and 1, unlike "
                f"'{roles.targets[zero_one.index(False)]}'"
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
