"""Tables to inputs, for both training and prediction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch

from wf.errors import DataError, lacking, unknown
from wf_base.tree import Tree
from wf_datasets.tables.cells import looks_like
from wf_datasets.tables.column import Categories, shown
from wf_datasets.tables.dates import Dates, is_date, seconds_of
from wf_datasets.tables.records import table_of
from wf_datasets.tables.table import Column, Mode, NotNumbersError, Table, place
from wf_datasets.tables.text.plain_rows import Array
from wf_datasets.tables.text.table_file import TableFile
from wf_datasets.transforms.fill import FillMissing

_log = logging.getLogger(__name__)

_BLOCK = 4096
"""The number of rows encoded at once: few enough to stay in the CPU cache."""


Missing = Literal["error", "drop", "mean", "fill"]
"""The treatment of missing values."""
Unseen = Literal["warn", "error"]
"""The treatment of a category unseen in training."""


@dataclass(frozen=True)
class InputColumn:
    """A column of inputs: numbers, dates, or one of the values of `categories`."""

    name: str
    categories: Categories | None = None
    is_embedded: bool = False
    """Whether a category is an integer, for an embedding, rather than one-hot encoded."""
    dates: Dates | None = None

    @property
    def mode(self) -> Mode:
        """The type that it is read as."""
        return "number" if self.categories is None and self.dates is None else "text"

    @property
    def features(self) -> list[str]:
        """The names of its numbers."""
        if self.dates is not None:
            return self.dates.names(self.name)
        if self.categories is None:
            return [self.name]
        return [] if self.is_embedded else [f"{self.name}={shown(value)}" for value in self.categories.values]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> InputColumn:
        """The object from its `description`."""
        categories = Categories(tuple(said["values"]), said["form"]) if "values" in said else None
        dates = Dates.of(said["dates"]) if "dates" in said else None
        return cls(said["name"], categories, bool(said.get("embedded", False)), dates)

    def description(self) -> dict[str, Any]:
        """The arguments for an equal object, as JSON values."""
        said: dict[str, Any] = {"name": self.name}
        if self.categories is not None:
            said |= {"values": list(self.categories.values), "form": self.categories.form}
        said |= {"embedded": True} if self.is_embedded else {}
        return said if self.dates is None else {**said, "dates": self.dates.description()}


class TableReader:
    """Reads the inputs of a table from the columns that a run was trained with; other columns are ignored.

    Args:
        columns: The input columns in order: ``name``, for categories also ``values`` and ``form``, for dates ``dates``.
        delimiter: As for `wf_datasets.tables.text.table_file.TableFile`.
        missing: The treatment of missing values: ``mean`` and ``fill`` keep numbers nan for the run's own transform to
            fill in; ``fill`` makes a missing category a separate category; otherwise they are refused, because every
            row needs a prediction.
        double: Whether inputs are float64, because float32 cannot distinguish some of the numbers.
        decimal: The decimal separator, if a file does not determine it.
        unseen: The treatment of categories unseen in training.
        others: The other columns of the training file; None if unknown.
    """

    endings: tuple[str, ...] = (".csv", ".tsv")

    def __init__(
        self,
        columns: Sequence[Mapping[str, Any]],
        delimiter: str = "auto",
        missing: Missing = "error",
        double: bool = False,
        decimal: Literal[".", ","] = ".",
        unseen: Unseen = "error",
        others: Sequence[str] | None = None,
    ) -> None:
        self.columns = tuple(map(InputColumn.of, columns))
        self.delimiter, self.missing, self.double = delimiter, missing, double
        self.decimal, self.unseen = decimal, unseen
        self.others = None if others is None else tuple(others)

    @classmethod
    def of(cls, columns: Sequence[InputColumn], **options: Any) -> TableReader:
        """A reader of these columns."""
        reader = cls((), **options)
        reader.columns = tuple(columns)
        return reader

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {
            "columns": [column.description() for column in self.columns],
            "delimiter": self.delimiter,
            "missing": self.missing,
            "double": self.double,
            "decimal": self.decimal,
            "unseen": self.unseen,
            "others": None if self.others is None else list(self.others),
        }

    def transforms(self) -> tuple[FillMissing, ...]:
        """The transforms that the inputs need first."""
        has_numbers = any(column.features for column in self.columns)
        return (FillMissing(),) if self.fills and has_numbers else ()

    @property
    def fills(self) -> bool:
        """Whether missing numbers are replaced."""
        return self.missing in ("mean", "fill")

    @property
    def feature_names(self) -> list[str]:
        """The names of the numbers, in their order."""
        return [feature for column in self.columns for feature in column.features]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of categories of each embedded column, including 0 for all categories unseen in training."""
        embedded = [column for column in self.columns if column.is_embedded]
        return {column.name: 1 + len(column.categories.values) for column in embedded if column.categories is not None}

    def read(self, path: Path) -> Tree:
        """The inputs of a file's rows.

        Returns:
            See `encode`.

        Raises:
            DataError: For a file that is missing or invalid, lacks a column, or holds a value that does not fit; the
                message names line, column and value.
        """
        file, modes, decimal = self._opened(path)
        try:
            table = self.with_dates(file.read(modes, decimal))
        except NotNumbersError as error:
            raise DataError(not_numbers(file, error.found, training=False)) from error
        self._refuse_missing(table)
        return self.encode(table)

    def parts(self, path: Path, stream: BinaryIO | None = None) -> Iterator[Tree]:
        """The inputs of a file's rows, some thousands at a time: the file may be larger than memory.

        Args:
            path: The file.
            stream: Read instead of the file, such as standard input; then `path` is its name in messages.

        Raises:
            DataError: As `read`, raised when the rows are reached.
        """
        file, modes, decimal = self._opened(path, stream)
        try:
            for part in file.parts(modes, decimal):
                table = self.with_dates(part)
                self._refuse_missing(table)
                yield self.encode(table)
        except NotNumbersError as error:
            raise DataError(not_numbers(file, error.found, training=False)) from error

    def labelled(
        self, path: Path, choose: Callable[[Sequence[str]], Sequence[str]]
    ) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
        """The inputs of a file's rows, some thousands at a time, with the cells of the target columns.

        Args:
            path: The file.
            choose: Called with the file's columns; returns the names of the target columns.

        Raises:
            DataError: As `read`, raised when the rows are reached.
        """
        file, modes, decimal = self._opened(path)
        names = choose(file.header)
        try:
            for part in file.parts({**dict.fromkeys(names, "text"), **modes}, decimal):
                table = self.with_dates(part)
                self._refuse_missing(table)
                yield self.encode(table), {name: table.columns[name].cells() for name in names}
        except NotNumbersError as error:
            raise DataError(not_numbers(file, error.found, training=False)) from error

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tree:
        """The inputs of rows given as dicts by column; other keys are ignored.

        Args:
            records: The rows. A number may be given as text, a date as a Python date; None and a missing key are
                missing values.
            where: Their origin, for messages.
            first: The number of the first row, for messages.

        Raises:
            DataError: As `read`.
        """
        forms = {column.name: column.categories for column in self.columns if column.categories is not None}
        modes = {column.name: column.mode for column in self.columns}
        table = table_of(records, modes, where, first=first, decimal=self.decimal, forms=forms)
        if first == 1:
            self._tell_new(where, list(dict.fromkeys(name for record in records for name in record)))
        table = self.with_dates(table)
        self._refuse_missing(table)
        return self.encode(table)

    def fields(self) -> list[dict[str, Any]]:
        """The columns of a row, in the order of training, for users and other programs."""
        found = []
        for column in self.columns:
            one: dict[str, Any] = {"name": column.name, "type": "number", "missing": "mean" if self.fills else "error"}
            if column.dates is not None:
                one |= {"type": "date", "format": column.dates.format}
            elif column.categories is not None:
                one |= {"type": "category", "values": list(column.categories.values), "unseen": self.unseen}
                one["missing"] = "category" if "" in column.categories.values else "error"
            found.append(one)
        return found

    def _opened(
        self, path: Path, stream: BinaryIO | None = None
    ) -> tuple[TableFile, dict[str, Mode], Literal[".", ","]]:
        """A file with all columns, the types that they are read as, and its decimal separator."""
        names = [column.name for column in self.columns]
        file = TableFile(path, self.delimiter, names, stream)
        for name in names:
            if name not in file.header:
                raise DataError(f"{path}: {lacking('column', name, file.header)}")
        self._tell_new(path, file.header)
        modes = {column.name: column.mode for column in self.columns}
        numbers = [name for name, mode in modes.items() if mode == "number"]
        return file, modes, file.decimal(numbers, self.decimal)

    def _tell_new(self, where: Path | str, header: Sequence[str]) -> None:
        """Warn about columns that training did not have."""
        names = [column.name for column in self.columns]
        if self.others is not None and (new := set(header) - {*names, *self.others}):
            listed = ", ".join(f"'{name}'" for name in header if name in new)
            _log.warning("%s: training had no column %s; it is left out", where, listed)

    def with_dates(self, table: Table) -> Table:
        """The table with its dates as numbers: seconds since 1970."""
        found = {column.name: column.dates.format for column in self.columns if column.dates is not None}
        if not found:
            return table
        seconds = {name: Column(name, seconds_of(table, name, format)) for name, format in found.items()}
        return replace(table, columns={**table.columns, **seconds})

    def encode(self, table: Table) -> Tree:
        """The inputs of a table.

        Returns:
            float32 ``[N, F]``, or float64 if training had it, nan for a missing number. With embedded categories, a
            dict with these as ``numbers``, if any, and int64 ``[N, C]`` as ``categories``.

        Raises:
            DataError: For an unknown category, if these are refused.
        """
        sources: list[tuple[Array, int, bool]] = []
        embedded: list[Array] = []
        unseen: dict[str, Array] = {}
        width = 0
        for column in self.columns:
            found = table.columns[column.name]
            if column.categories is None:
                assert found.numbers is not None
                numbers = found.numbers if column.dates is None else column.dates.numbers(found.numbers)
                sources.append((numbers, width, False))
            else:
                indices = column.categories.indices(found)
                strange = np.flatnonzero(indices < 0)
                if len(strange):
                    if self.unseen == "error":
                        raise DataError(_strange(table, column.name, int(strange[0]), column.categories))
                    unseen[column.name] = strange
                if column.is_embedded:
                    embedded.append(indices + 1)
                else:
                    sources.append((indices, width, True))
            width += len(column.features)
        if unseen:
            _log.warning(_unseen(table, unseen))
        inputs: Array = np.zeros((len(table.lines), width), np.float64 if self.double else np.float32)
        for begin in range(0, len(inputs), _BLOCK):
            block = inputs[begin : begin + _BLOCK]
            rows = np.arange(len(block))
            for source, start, is_index in sources:
                own = source[begin : begin + _BLOCK]
                if not is_index:
                    block[:, start : start + (1 if own.ndim == 1 else own.shape[1])] = own.reshape(len(block), -1)
                elif unseen:
                    block[rows[own >= 0], start + own[own >= 0]] = 1
                else:
                    block[rows, start + own] = 1
        if not embedded:
            return torch.from_numpy(inputs)
        categories = torch.from_numpy(np.stack(embedded, axis=1))
        return {"numbers": torch.from_numpy(inputs), "categories": categories} if width else {"categories": categories}

    def _refuse_missing(self, table: Table) -> None:
        for column in self.columns:
            if self.missing == "fill" or (column.categories is None and self.fills):
                continue
            rows = np.flatnonzero(table.columns[column.name].missing)
            if len(rows):
                raise DataError(
                    f"{table.place(int(rows[0]), column.name)}: the value is missing ({len(rows)} in this column)\n"
                    "  each row needs a prediction: add a value, or remove the row from the file"
                )


def _strange(table: Table, name: str, row: int, known: Categories) -> str:
    return f"{table.place(row, name)}: " + unknown(
        "category", shown(_cell(table, name, row)), list(map(shown, known.values)), "training knew no others"
    )


def _unseen(table: Table, found: Mapping[str, Array]) -> str:
    """The message about categories unseen in training."""
    lines = []
    for name, rows in found.items():
        texts = list(dict.fromkeys(shown(_cell(table, name, int(row))) for row in rows[:_FIRST_UNSEEN]))
        more = ", ..." if len(texts) > _EXAMPLES or len(rows) > _FIRST_UNSEEN else ""
        examples = ", ".join(f"'{text}'" for text in texts[:_EXAMPLES])
        lines.append(f"{len(rows):,} of {len(table.lines):,} in '{name}': {examples}{more}")
    head = f"{table.path}: categories unseen in training; each is encoded as none of the known ones"
    return "\n  ".join([head, *lines])


_EXAMPLES, _FIRST_UNSEEN = 3, 1000
"""The number of categories in a message, and the number of rows searched for them."""


def _cell(table: Table, name: str, row: int) -> str:
    column = table.columns[name]
    assert column.codes is not None
    return column.texts[int(column.codes[row])]


_WORDS_OF_TEXT = 4
"""Of so many words in a cell its column may be one of texts."""


def not_numbers(
    file: TableFile, found: Mapping[str, tuple[int, str]], *, training: bool = True, advice: str = ""
) -> str:
    """The message for columns of numbers that hold something else, each with the first line and cell.

    Args:
        file: The file.
        found: The columns.
        training: Whether the user can set options for the columns.
        advice: What to do about a column of text, with ``{name}`` for its name; empty for these options.
    """
    looks = {name: looks_like(cell) for name, (_, cell) in found.items()}
    name = next((name for name, look in looks.items() if look is None), next(iter(found)))
    line, cell = found[name]
    lines = [f"{place(file.path, line, name)}: {_quoted(cell)} is not a number"]
    dates = [one for one, look in looks.items() if training and look is not None and look[0] == "a date"]
    text = [one for one, look in looks.items() if look is None]
    if len(text) > 1:
        lines.append(f"{len(text)} columns contain text: {', '.join(text)}")
    for one, look in looks.items():
        if look is not None:
            where = "it" if one == name else f"{_quoted(found[one][1])} in column '{one}'"
            lines.append(f"{where} looks like {look[0]}" + (f": {look[1]}" if one not in dates else ""))
            lines += _whole_file(file, look[0])
    if advice and looks[name] is None:
        return "\n  ".join([lines[0], advice.format(name=name)])
    if not training:
        lines.append("the run was trained on numbers in this column")
        return "\n  ".join(dict.fromkeys(lines))
    usual = all(is_date(found[one][1]) for one in dates)
    if dates:
        words = "it as a date" if len(dates) == 1 else "them as dates"
        lines.append(f"read {words}: --dataset.date '{_listed(dates)}'")
        lines += [] if usual else ["and give their format: --dataset.date_format, such as '%d %b %Y'"]
    if text:
        lines.append(f"one-hot encode it: --dataset.categorical '{_listed(text)}'")
    if len(text) == 1 and len(found[text[0]][1].split()) >= _WORDS_OF_TEXT:
        lines.append(
            f"or train on these texts: --dataset texts --dataset.path {file.path.name} --dataset.text {text[0]} "
            "--dataset.label COLUMN"
        )
    if usual and {*text, *dates} == set(found):
        lines.append("or let wf infer dates and categories: --dataset.infer true")
    lines.append(f"or leave it out: --dataset.ignore '{_listed(text or list(found))}'")
    return "\n  ".join(dict.fromkeys(lines))


def _whole_file(file: TableFile, look: str) -> list[str]:
    """Advice on rewriting the numbers of a file."""
    options = [f"sep={file.delimiter!r}"] if file.delimiter != "," else []
    options += ["decimal=','"] if "decimal comma" in look else []
    options += [f"thousands={'.' if 'decimal' in look else ','!r}"] if "thousands" in look and "or" not in look else []
    if not {"decimal comma", "thousands separators"} & {look.removeprefix("a number with ").removeprefix("a ")}:
        return []
    more = "".join(f", {one}" for one in options)
    return [f"in the whole file, for example: pandas.read_csv('{file.path.name}'{more}).to_csv('new.csv', index=False)"]


def _quoted(cell: str) -> str:
    return f"'{cell}'" if len(cell) <= 60 else f"'{cell[:40]}...' ({len(cell):,} characters)"


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{one}"' for one in names)
    return f"[{listed}]"
