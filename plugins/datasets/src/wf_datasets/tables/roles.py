"""The roles of a table's columns: targets, numbers, categories, dates; given, or inferred from the first rows."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wf.errors import DataError, UsageError, unknown
from wf_datasets.tables.cells import has_decimal_comma, looks_like, number
from wf_datasets.tables.dates import is_date
from wf_datasets.tables.table import Decimal, Mode
from wf_datasets.tables.table_reader import TableReader
from wf_datasets.tables.text.table_file import TableFile

_TOLD = logging.getLogger("wf")
"""Log messages that are shown unless a run is quiet."""

Task = Literal["auto", "classification", "regression"]
_MANY = 20
"""With ``auto``, a column with more categories than this is embedded."""


@dataclass(frozen=True)
class Roles:
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


def names_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """A name or several as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def roles_of(
    file: TableFile,
    targets: tuple[str, ...],
    ignore: str | Sequence[str],
    categorical: str | Sequence[str],
    known: TableReader | None,
    *,
    date: str | Sequence[str],
    embed: str | Sequence[str],
) -> Roles:
    """The roles from the options of a dataset; a resumed run takes them from its reader.

    Args:
        file: The file.
        targets: The columns of the targets.
        ignore: The columns that are left out.
        categorical: The columns of categories.
        known: The reader of a resumed run.
        date: The columns of dates.
        embed: The embedded columns, or ``auto``.

    Raises:
        DataError: For a column that the file lacks, and if no column is left as an input.
        UsageError: For options that contradict each other.
    """
    if not targets or len(set(targets)) < len(targets):
        raise UsageError(f"csv: target is {list(targets)}; it must name one column, or several different ones")
    if known is not None:
        inputs = tuple(column.name for column in known.columns)
        _check_columns(file, "target", targets)
        _check_columns(file, "path", inputs)
        of_text = [column for column in known.columns if column.mode == "text"]
        return Roles(
            targets,
            inputs,
            tuple(column.name for column in of_text if column.dates is None),
            tuple(column.name for column in of_text if column.dates is not None),
        )
    chosen = names_of(embed)
    given = {
        "target": targets,
        "ignore": names_of(ignore),
        "categorical": names_of(categorical),
        "date": names_of(date),
        "embed": () if chosen == ("auto",) else chosen,
    }
    for option, names in given.items():
        _check_columns(file, option, names)
    for one, other in _APART:
        for name in sorted(set(given[one]) & set(given[other])):
            raise UsageError(f"csv: column '{name}' is both {_WORDS[one]} and {_WORDS[other]}")
    inputs = tuple(name for name in file.header if name not in {*targets, *given["ignore"]})
    if not inputs:
        raise DataError(f"{file.path}: no column is left as an input; its columns: {', '.join(file.header)}")
    if "" in inputs:
        raise DataError(
            f"{file.path}: column {file.header.index('') + 1} has no name (often a row number)\n"
            "  name it in the first line, or leave it out: --dataset.ignore '[\"\"]'"
        )
    text = tuple(dict.fromkeys((*given["categorical"], *given["embed"])))
    return Roles(targets, inputs, text, given["date"], chosen)


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


def inferred(file: TableFile, roles: Roles) -> Roles:
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


def decimal_of(file: TableFile, roles: Roles, decimal: Decimal, known: TableReader | None) -> Literal[".", ","]:
    """The decimal separator."""
    if decimal != "auto":
        return decimal
    text = {*roles.categorical, *roles.dates}
    columns = [name for name in (*roles.inputs, *roles.targets) if name not in text]
    return file.decimal(columns, "." if known is None else known.decimal)


def tell_dialect(file: TableFile, delimiter: str, decimal: str) -> None:
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
