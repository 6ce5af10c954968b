"""Delimited text files as columns of cells, checked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wf.errors import DataError, UsageError
from wf_datasets.paths import existing_file

DELIMITERS = (",", ";", "\t", "|")
"""What ``auto`` chooses from."""


@dataclass(frozen=True)
class Table:
    """The cells of a file, without the blanks around them."""

    path: Path
    columns: dict[str, list[str]]
    """The cells by column name, in the file's order."""
    lines: list[int]
    """The line where each row starts, counted from 1."""

    def place(self, row: int, column: str) -> str:
        """Where a cell stands, for messages."""
        return f"{self.path}, line {self.lines[row]}, column '{column}'"


def read_table(path: Path, delimiter: str = "auto") -> Table:
    """Read a UTF-8 file whose first line names the columns; blank lines do not count.

    Args:
        path: The file.
        delimiter: One character, ``\\t``, or ``auto``: the one of ``,`` ``;`` tab ``|`` that divides
            the first line most.

    Raises:
        DataError: When the file is missing, empty, not UTF-8, ragged or badly quoted, has no rows, or names a column
            twice.
        UsageError: When the delimiter is not one character.
    """
    path = existing_file(path)
    text = _decode(path)
    if not text.strip():
        raise DataError(f"{path} is empty; its first line must name the columns")
    rows = _rows(path, text, _delimiter(text, delimiter))
    _, header = next(rows)
    _check_header(path, header)
    lines, cells = [], []
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(row)} fields, but the first line names {len(header)} columns\n"
                "  a field that holds the delimiter must stand in double quotes; --dataset.delimiter names another one"
            )
        lines.append(number)
        cells.append(row)
    if not cells:
        raise DataError(f"{path} has column names but no rows")
    columns = {name: list(column) for name, column in zip(header, zip(*cells, strict=True), strict=True)}
    return Table(path, columns, lines)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {number}: byte 0x{data[error.start]:02x} is not UTF-8\n"
            f"  convert the file first, for example: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
        ) from error


def _delimiter(text: str, delimiter: str) -> str:
    if delimiter == "auto":
        first = text.lstrip("\r\n")
        return max(DELIMITERS, key=lambda one: len(next(csv.reader(io.StringIO(first, newline=""), delimiter=one))))
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise UsageError(f"csv: delimiter '{delimiter}' is not one character; use ',', ';', '\\t', '|' or auto")
    return delimiter


def _rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line where it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if len(cells) > 1 or any(cells):
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: the row that starts in line {start} cannot be read: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    for index, name in enumerate(header):
        if name in header[:index]:
            raise DataError(f"{path}: two columns are named '{name}' ({header.index(name) + 1} and {index + 1})")
