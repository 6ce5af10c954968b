"""Rows of named fields, from tables in text files and from JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import DataError, unknown
from wf_text.reading.corpus import decoded

TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
"""The endings of tables and of JSON lines."""
DELIMITERS = (",", ";", "\t", "|")
LONGEST = 1 << 30
"""The maximum length of a field of a table: a document may be long."""


@dataclass(frozen=True)
class Row:
    """A row of a file."""

    file: Path
    line: int
    """The number of its first line, from 1."""
    fields: dict[str, Any]

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"'{self.file}', line {self.line}"


def text_of(path: Path) -> str:
    """All of a file as text.

    Raises:
        DataError: If it is missing, empty, or not UTF-8, with the offset of the first wrong byte.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file '{path}'") from error
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror or error}") from error
    text = decoded(path, data)
    if not text.strip():
        raise DataError(f"'{path}' is empty: there is no text in it")
    return text


def rows(path: Path, names: Sequence[str], delimiter: str = "auto") -> list[Row]:
    """The rows of a file.

    Args:
        path: A table (``.csv``, ``.tsv``) whose first line names the columns, or JSON lines (``.jsonl``).
        names: The fields to read.
        delimiter: The character between the fields of a table, or ``auto``.

    Returns:
        Each row with its existing fields. An empty field and NaN, null in JSON, are None.

    Raises:
        DataError: For a file that cannot be read, or an invalid row, with its position.
    """
    found = whole_rows(path, names, delimiter)
    for name in names:
        _check_field(found, name)
    return [Row(row.file, row.line, {name: _value(row.fields.get(name)) for name in names}) for row in found]


def whole_rows(path: Path, names: Sequence[str], delimiter: str = "auto") -> list[Row]:
    """The rows of a file with all their fields, as they are written.

    Args:
        path: As for `rows`.
        names: Fields that are known to exist, from which the delimiter is inferred.
        delimiter: As for `rows`.

    Raises:
        DataError: For a file that cannot be read, or an invalid row, with its position.
    """
    text, ending = text_of(path), path.suffix.lower()
    if ending not in (*TABLES, *LINES):
        raise DataError(f"'{path}' is neither a table ({', '.join(TABLES)}) nor JSON lines ({', '.join(LINES)})")
    found = list(_of_json(path, text) if ending in LINES else _of_table(path, text, names, delimiter))
    if not found:
        raise DataError(f"'{path}' has no rows: there is nothing in it but the names of its columns")
    return found


def sentences(path: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """The sentences of a file in columns: the number of the first line, and the fields of each line.

    Raises:
        DataError: For a file that cannot be read, or has none.
    """
    kept: list[list[str]] = []
    any_found = False
    for number, line in enumerate([*text_of(path).split("\n"), ""], 1):
        cells = line.split()
        if cells and cells[0] != "-DOCSTART-":
            kept.append(cells)
        elif kept:
            yield number - len(kept), kept
            kept, any_found = [], True
    if not any_found:
        raise DataError(f"'{path}' has no sentences: there is nothing to learn from")


def _check_field(found: Sequence[Row], name: str) -> None:
    for row in found:
        if name not in row.fields:
            raise DataError(f"{row.where}: {unknown('field', name, list(row.fields))}")


def _value(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("", "nan") else value


def _of_json(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{path}', line {number} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise DataError(
                f"'{path}', line {number} is {type(found).__name__}; each line must be an object: "
                '{"text": "...", "label": "..."}'
            )
        yield Row(path, number, found)


def _of_table(path: Path, text: str, names: Sequence[str], delimiter: str) -> Iterator[Row]:
    own = _delimiter(path, text, names) if delimiter == "auto" else delimiter
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=own, strict=True)
        header: list[str] = []
        line = 1
        try:
            for cells in reader:
                begin, line = line, reader.line_num + 1
                if not header:
                    header = _header(path, begin, cells) if cells else header
                elif cells and len(cells) != len(header):
                    raise DataError(
                        f"'{path}', line {begin} has {len(cells)} fields, but the first line names {len(header)}\n"
                        "  put a field that contains the delimiter or a line end in double quotes"
                    )
                elif cells:
                    yield Row(path, begin, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise DataError(f"'{path}', in the row that begins in line {line}: {error}") from error


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    """The names of the columns."""
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"'{path}', line {line}: two columns are called '{twice}'")
    return names


def _delimiter(path: Path, text: str, names: Sequence[str]) -> str:
    """The character that divides the first line into the wanted columns, else into the most."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.lstrip("\r\n").split("\n", 1)[0]
    parts = {one: [cell.strip().strip('"') for cell in first.rstrip("\r").split(one)] for one in DELIMITERS}
    return max(DELIMITERS, key=lambda one: (len({*names} & {*parts[one]}), len(parts[one])))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read long documents."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
