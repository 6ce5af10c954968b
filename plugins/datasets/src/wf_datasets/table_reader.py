"""From a table to inputs: what training and prediction read by alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, unknown
from wf_datasets.cells import looks_like
from wf_datasets.column import Categories
from wf_datasets.fill import FillMissing, Missing
from wf_datasets.plain_rows import Array
from wf_datasets.table import Mode, NotNumbersError, Table, TableFile, place

_BLOCK = 4096
"""Rows that are encoded at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class InputColumn:
    """A column of inputs: numbers, or one of the values of `categories`."""

    name: str
    categories: Categories | None = None

    @property
    def mode(self) -> Mode:
        """What it is read as."""
        return "number" if self.categories is None else "text"

    @property
    def features(self) -> list[str]:
        """The names of its inputs."""
        if self.categories is None:
            return [self.name]
        return [f"{self.name}={value}" for value in self.categories.values]


class TableReader:
    """Reads the inputs of a table by the columns that a run was trained with, whatever other columns a file has.

    Args:
        columns: The input columns in their order: ``name``, and of one-hot encoded ones ``values`` and ``form``.
        delimiter: As `wf_datasets.table.TableFile` takes it.
        missing: What becomes of missing values: ``mean`` leaves them nan, which the run's own transform fills; all
            others refuse them, because a prediction belongs to each row.
        double: Whether inputs are float64: float32 would not keep some of the numbers apart.
    """

    endings: tuple[str, ...] = (".csv", ".tsv")

    def __init__(
        self,
        columns: Sequence[Mapping[str, Any]],
        delimiter: str = "auto",
        missing: Missing = "error",
        double: bool = False,
    ) -> None:
        self.columns = tuple(
            InputColumn(one["name"], Categories(tuple(one["values"]), one["form"]) if "values" in one else None)
            for one in columns
        )
        self.delimiter, self.missing, self.double = delimiter, missing, double

    @classmethod
    def of(cls, columns: Sequence[InputColumn], delimiter: str, missing: Missing, *, double: bool) -> TableReader:
        """A reader of these columns."""
        reader = cls((), delimiter, missing, double)
        reader.columns = tuple(columns)
        return reader

    def description(self) -> dict[str, Any]:
        """What makes an equal reader again, in JSON's values."""
        columns: list[dict[str, Any]] = []
        for column in self.columns:
            columns.append({"name": column.name})
            if column.categories is not None:
                columns[-1] |= {"values": list(column.categories.values), "form": column.categories.form}
        return {"columns": columns, "delimiter": self.delimiter, "missing": self.missing, "double": self.double}

    def transforms(self) -> tuple[FillMissing, ...]:
        """What the inputs need before all other transforms."""
        return (FillMissing(),) if self.missing == "mean" else ()

    @property
    def feature_names(self) -> list[str]:
        """The names of the inputs, in their order."""
        return [feature for column in self.columns for feature in column.features]

    def read(self, path: Path) -> Tensor:
        """The inputs of a file's rows.

        Returns:
            float32 ``[N, F]``, or float64 where training had it.

        Raises:
            DataError: For a file that is missing or invalid, lacks a column, or holds a value that training did not
                know; the message names line, column and value.
        """
        names = [column.name for column in self.columns]
        file = TableFile(path, self.delimiter, names)
        for name in names:
            if name not in file.header:
                raise DataError(f"{path}: {unknown('column', name, file.header, 'the run was trained with it')}")
        try:
            table = file.read({column.name: column.mode for column in self.columns})
        except NotNumbersError as error:
            raise DataError(not_numbers(file, error.found, training=False)) from error
        self._refuse_missing(table)
        return self.encode(table)

    def encode(self, table: Table) -> Tensor:
        """The inputs of a table ``[N, F]``, nan where a number is missing.

        Raises:
            DataError: For a category that is not known.
        """
        sources: list[tuple[Array, int]] = []
        width = 0
        for column in self.columns:
            found = table.columns[column.name]
            if column.categories is None:
                assert found.numbers is not None
                sources.append((found.numbers, width))
            else:
                indices = column.categories.indices(found)
                strange = np.flatnonzero(indices < 0)
                if len(strange):
                    raise DataError(_strange(table, column.name, int(strange[0]), column.categories))
                sources.append((indices, width))
            width += len(column.features)
        inputs: Array = np.zeros((len(table.lines), width), np.float64 if self.double else np.float32)
        for begin in range(0, len(inputs), _BLOCK):
            block = inputs[begin : begin + _BLOCK]
            rows = np.arange(len(block))
            for column, (source, start) in zip(self.columns, sources, strict=True):
                if column.categories is None:
                    block[:, start] = source[begin : begin + _BLOCK]
                else:
                    block[rows, start + source[begin : begin + _BLOCK]] = 1
        return torch.from_numpy(inputs)

    def _refuse_missing(self, table: Table) -> None:
        for column in self.columns:
            if column.categories is None and self.missing == "mean":
                continue
            rows = np.flatnonzero(table.columns[column.name].missing)
            if len(rows):
                raise DataError(
                    f"{table.place(int(rows[0]), column.name)}: the value is missing ({len(rows)} in this column)\n"
                    "  each row needs a prediction: put a value there, or take the row out of the file"
                )


def _strange(table: Table, name: str, row: int, known: Categories) -> str:
    column = table.columns[name]
    assert column.codes is not None
    return f"{table.place(row, name)}: " + unknown(
        "category", column.texts[int(column.codes[row])], known.values, "training knew no others"
    )


def not_numbers(file: TableFile, found: Mapping[str, tuple[int, str]], *, training: bool = True) -> str:
    """The message for columns of numbers that hold something else, each with the first line and cell.

    Args:
        file: The file.
        found: The columns.
        training: Whether there are options that say what becomes of a column.
    """
    looks = {name: looks_like(cell) for name, (_, cell) in found.items()}
    name = next((name for name, look in looks.items() if look is None), next(iter(found)))
    line, cell = found[name]
    lines = [f"{place(file.path, line, name)}: {_quoted(cell)} is not a number"]
    text = [one for one, look in looks.items() if look is None]
    if len(text) > 1:
        lines.append(f"text stands in {len(text)} columns: {', '.join(text)}")
    for one, look in looks.items():
        if look is not None:
            where = "it" if one == name else f"{_quoted(found[one][1])} in column '{one}'"
            lines.append(f"{where} looks like {look[0]}: {look[1]}")
            lines += _whole_file(file, look[0])
    if not training:
        lines.append("the run was trained on numbers in this column")
        return "\n  ".join(dict.fromkeys(lines))
    if text:
        lines.append(f"one-hot encode it: --dataset.categorical '{_listed(text)}'")
    lines.append(f"or leave it out: --dataset.ignore '{_listed(text or list(found))}'")
    return "\n  ".join(dict.fromkeys(lines))


def _whole_file(file: TableFile, look: str) -> list[str]:
    """How all numbers of a file are written anew."""
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
