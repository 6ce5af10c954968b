"""Delimited text files as columns of arrays, read in chunks."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from wf.errors import DataError
from wf_datasets.paths import existing_file
from wf_datasets.tables.cells import has_decimal_comma, number
from wf_datasets.tables.table import Mode, Table
from wf_datasets.tables.text.arrow_rows import has_arrow
from wf_datasets.tables.text.lines import UnendedError, delimiter_of, num_breaks, rows_of, text_chunks
from wf_datasets.tables.text.reading import Reading

FIRST = 1000
"""The number of rows that are inspected first."""
LARGE, FEW_COLUMNS = 1 << 25, 100
"""Files of so many bytes with at most so many columns are read by pyarrow, where it is installed: others take longer
with it."""


class TableFile:
    """A UTF-8 file whose first line names the columns; blank lines are ignored.

    Args:
        path: The file.
        delimiter: One character, ``\\t``, or ``auto``: the one of ``,`` ``;`` tab ``|`` that divides the first line
            into all of `wanted`, or else into the most fields.
        wanted: Columns that are known to exist.
        given: A stream that is read instead of the file, which only gives its name.

    Raises:
        DataError: If the file is missing, empty, not UTF-8 or badly quoted, or names a column twice.
        UsageError: If the delimiter is not one character.
    """

    def __init__(
        self, path: Path, delimiter: str = "auto", wanted: Sequence[str] = (), given: BinaryIO | None = None
    ) -> None:
        self.path = existing_file(path) if given is None else path
        self._chunks = text_chunks(self.path, given)
        first = next((chunk for chunk in self._chunks if chunk[1].strip()), None)
        if first is None:
            raise DataError(f"{self.path} is empty; its first line must name the columns")
        line, text = first
        self.delimiter = delimiter_of(text, delimiter, wanted)
        stream = io.StringIO(text, newline="")
        try:
            self.header: tuple[str, ...] = tuple(next(rows_of(self.path, stream, self.delimiter, line))[1])
        except UnendedError as error:
            raise error.told from error
        self._line = line + num_breaks(text[: stream.tell()].encode())
        self._rest = text[stream.tell() :]
        _check_header(self.path, self.header)

    def first(self, *columns: str) -> list[list[str]]:
        """The cells of columns in the first rows, up to an invalid row.

        Args:
            *columns: Their names.
        """
        places, cells = [self.header.index(column) for column in columns], [list[str]() for _ in columns]
        rows = rows_of(self.path, io.StringIO(self._rest, newline=""), self.delimiter, self._line)
        with suppress(DataError, UnendedError):
            for _, row in itertools.islice(rows, FIRST):
                if len(row) != len(self.header):
                    break
                for own, place in zip(cells, places, strict=True):
                    own.append(row[place])
        return cells

    def decimal(self, columns: Sequence[str], default: Literal[".", ","] = ".") -> Literal[".", ","]:
        """The decimal separator, judged by the first rows.

        Args:
            columns: The columns that may hold numbers.
            default: The separator if these rows do not determine it.
        """
        if "," not in self._rest or (self.delimiter == "," and '"' not in self._rest):
            return "."
        cells = self.first(*columns)
        if any("." in cell and number(cell) is not None for own in cells for cell in own):
            return "."
        return "," if any(map(has_decimal_comma, cells)) else default

    def read(self, modes: Mapping[str, Mode], decimal: Literal[".", ","] = ".") -> Table:
        """Read the rows, once.

        Args:
            modes: The type that each column is read as; missing columns are skipped.
            decimal: The decimal separator.

        Raises:
            DataError: If it is not UTF-8, ragged or badly quoted, has no rows, or holds a number that is infinite or
                too large for float32.
            NotNumbersError: If a column that is read as numbers holds something else.
        """
        read = Reading(self.path, self.header, modes, self.delimiter, decimal, self.path.stat().st_size)
        chunks = self._chunks_of_rows()
        if len(self.header) <= FEW_COLUMNS and self.path.stat().st_size >= LARGE and has_arrow():
            chunks = read.at_once(chunks)
        for line, text in chunks:
            if not read.fast(line, text):
                read.slow(line, text, chunks)
        return read.table()

    def parts(self, modes: Mapping[str, Mode], decimal: Literal[".", ","] = ".") -> Iterator[Table]:
        """The rows as `read` returns them, some thousands at a time: a file may be larger than memory.

        Args:
            modes: See `read`.
            decimal: See `read`.
        """
        chunks, num = self._chunks_of_rows(), 0
        for line, text in chunks:
            read = Reading(self.path, self.header, modes, self.delimiter, decimal, len(text))
            if not read.fast(line, text):
                read.slow(line, text, chunks)
            if read.num_rows:
                num += read.num_rows
                yield read.table()
        if not num:
            raise DataError(f"{self.path} has column names but no rows")

    def _chunks_of_rows(self) -> Iterator[tuple[int, str]]:
        if self._rest:
            yield self._line, self._rest
        yield from self._chunks


def _check_header(path: Path, header: Sequence[str]) -> None:
    for index, name in enumerate(header):
        if name in header[:index]:
            raise DataError(f"{path}: two columns are named '{name}' ({header.index(name) + 1} and {index + 1})")
