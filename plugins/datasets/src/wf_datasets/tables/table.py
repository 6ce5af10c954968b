"""Delimited text files as columns of arrays, checked.

A file is read in chunks. A chunk of plain rows is parsed by `numpy.loadtxt`; if that fails or is uncertain, the csv
module and `wf_datasets.tables.cells.number` parse it and locate errors. Both give the same bits.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from wf.errors import DataError, UsageError
from wf_datasets.paths import existing_file
from wf_datasets.tables.cells import has_decimal_comma, number, number_with_comma
from wf_datasets.tables.plain_rows import Array, PlainRows

DELIMITERS = (",", ";", "\t", "|")
"""The delimiters that ``auto`` chooses from."""
CHUNK = 1 << 18
"""The number of bytes read at once."""
FIRST = 1000
"""The number of rows that are inspected first."""
Mode = Literal["number", "text", "skip"]
"""The kinds of columns."""
Decimal = Literal["auto", ".", ","]
"""The decimal separators; ``auto`` determines it from the first rows."""


class NotNumbersError(Exception):
    """Columns that are read as numbers hold something else; each has the line and the cell, in order."""

    def __init__(self, found: dict[str, tuple[int, str]]) -> None:
        super().__init__(str(found))
        self.found = found


@dataclass(frozen=True)
class Column:
    """One column, read as numbers or as text."""

    name: str
    numbers: Array | None
    """float64 ``[N]``, nan for a missing value; None for text."""
    codes: Array | None = None
    """For text: int64 ``[N]``, the indices of the cells in `texts`."""
    texts: Sequence[str] = ()
    """The different cells, without surrounding blanks."""

    @property
    def missing(self) -> Array:
        """The rows without a value, bool ``[N]``."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        return self._where([text.lower() in ("", "nan") for text in self.texts])

    def cells(self) -> list[Any]:
        """The value of each row, as a string or a number."""
        if self.numbers is not None:
            return list(self.numbers.tolist())
        assert self.codes is not None
        return [self.texts[code] for code in self.codes.tolist()]

    def take(self, kept: Array) -> Column:
        """The column with these rows only."""
        numbers = None if self.numbers is None else self.numbers[kept]
        return replace(self, numbers=numbers, codes=None if self.codes is None else self.codes[kept])

    def present(self) -> list[str]:
        """The strings that occur."""
        return [self.texts[code] for code in self.used()]

    def used(self) -> list[int]:
        """The codes that occur."""
        assert self.codes is not None
        return np.flatnonzero(np.bincount(self.codes)).tolist()

    def _where(self, chosen: Sequence[bool]) -> Array:
        assert self.codes is not None
        return np.array([*chosen, False], dtype=bool)[self.codes]


@dataclass(frozen=True)
class Table:
    """The requested columns of a file."""

    path: Path
    columns: Mapping[str, Column]
    lines: Array
    """The line where each row starts, counted from 1."""
    unit: str = "line"
    """What `lines` counts."""

    def place(self, row: int, column: str) -> str:
        """The position of a cell, for messages."""
        return place(self.path, int(self.lines[row]), column, self.unit)

    def take(self, kept: Array) -> Table:
        """The table with these rows only."""
        columns = {name: column.take(kept) for name, column in self.columns.items()}
        return replace(self, columns=columns, lines=self.lines[kept])


def place(path: Path | str, line: int, column: str, unit: str = "line") -> str:
    """The position of a cell, for messages."""
    return f"{path}, {unit} {line}, column '{column}'"


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
        self._chunks = _chunks(self.path, given)
        first = next((chunk for chunk in self._chunks if chunk[1].strip()), None)
        if first is None:
            raise DataError(f"{self.path} is empty; its first line must name the columns")
        line, text = first
        self.delimiter = _delimiter(text, delimiter, wanted)
        stream = io.StringIO(text, newline="")
        try:
            self.header: tuple[str, ...] = tuple(next(_rows(self.path, stream, self.delimiter, line))[1])
        except _UnendedError as error:
            raise error.told from error
        self._line = line + _num_breaks(text[: stream.tell()].encode())
        self._rest = text[stream.tell() :]
        _check_header(self.path, self.header)

    def first(self, *columns: str) -> list[list[str]]:
        """The cells of columns in the first rows, up to an invalid row.

        Args:
            *columns: Their names.
        """
        places, cells = [self.header.index(column) for column in columns], [list[str]() for _ in columns]
        rows = _rows(self.path, io.StringIO(self._rest, newline=""), self.delimiter, self._line)
        with suppress(DataError, _UnendedError):
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
        read = _Reading(self.path, self.header, modes, self.delimiter, decimal, self.path.stat().st_size)
        chunks = self._chunks_of_rows()
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
            read = _Reading(self.path, self.header, modes, self.delimiter, decimal, len(text))
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


class _Codes(dict[str, float]):
    """A number for each different cell, in order of appearance; surrounding blanks are ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def __missing__(self, cell: str) -> float:
        text = cell.strip()
        if text in self:
            code = self[text]
        else:
            code = self[text] = float(len(self.texts))
            self.texts.append(text)
        self[cell] = code
        return code


class _Reading:
    """Reads rows, chunk by chunk."""

    def __init__(
        self, path: Path, header: Sequence[str], modes: Mapping[str, Mode], delimiter: str, decimal: str, size: int
    ) -> None:
        self._path, self._header, self._delimiter = path, header, delimiter
        self._number = number if decimal == "." else number_with_comma
        self._decimal = decimal
        wanted = [(index, name, modes.get(name, "skip")) for index, name in enumerate(header)]
        self._numbers = {index: name for index, name, mode in wanted if mode == "number"}
        self._texts = {index: name for index, name, mode in wanted if mode == "text"}
        self._codes = {index: _Codes() for index in self._texts}
        converters: dict[int | str, Callable[[str], float]] = {
            index: len for index, _, mode in wanted if mode == "skip"
        }
        converters |= {index: codes.__getitem__ for index, codes in self._codes.items()}
        self._plain = PlainRows(len(header), delimiter, list(self._numbers), converters)
        self._store = _Store(1 + len(self._numbers) + len(self._texts), size)

    @property
    def num_rows(self) -> int:
        """The rows so far."""
        return self._store.num_rows

    def fast(self, line: int, text: str) -> bool:
        """Read a chunk of plain rows with the same result as `slow`; returns whether it could."""
        if self._decimal == ",":
            if self._texts or self._delimiter == "," or "." in text:  # only cells that are numbers have commas
                return False
            text = text.replace(",", ".")
        rows = self._plain.parse(text)
        if rows is None:
            return False
        columns = [rows[:, index] for index in (*self._numbers, *self._texts)]
        self._store.append([np.arange(line, line + len(rows)), *columns], len(text))
        return True

    def slow(self, line: int, text: str, more: Iterator[tuple[int, str]]) -> None:
        """Read a chunk, and the following chunks while a quoted cell continues."""
        num_chunks = 1
        while True:
            try:
                found = list(_rows(self._path, io.StringIO(text, newline=""), self._delimiter, line))
                break
            except _UnendedError as error:
                further = [chunk for _, (_, chunk) in zip(range(num_chunks), more, strict=False)]
                if not further:
                    raise error.told from error
                num_chunks += len(further)
                text += "".join(further)
        for start, row in found:
            if len(row) != len(self._header):
                raise DataError(
                    f"{self._path}, line {start}: {len(row)} fields, but the first line names {len(self._header)} "
                    "columns\n"
                    "  a field that contains the delimiter must be in double quotes; the delimiter is "
                    f"{self._delimiter!r} (in training --dataset.delimiter sets another one)"
                )
        if found:
            self._take([start for start, _ in found], [row for _, row in found], len(text))

    def _take(self, starts: list[int], rows: list[list[str]], size: int) -> None:
        taken: list[Array] = [np.array(starts)]
        wrong: dict[str, tuple[int, str]] = {}
        columns = list(zip(*rows, strict=True))
        for index, name in self._numbers.items():
            cells = columns[index]
            values = (_floats(cells) if self._decimal == "." else None) or list(map(self._number, cells))
            if None in values:
                bad = values.index(None)
                wrong[name] = starts[bad], cells[bad]
                continue
            numbers: Array = np.array(values, dtype=np.float64)
            with np.errstate(over="ignore"):
                infinite = np.flatnonzero(np.isinf(numbers.astype(np.float32)))
            if len(infinite):
                at = int(infinite[0])
                where = place(self._path, starts[at], name)
                raise DataError(f"{where}: {_short(cells[at])} is not a finite float32 number")
            taken.append(numbers)
        if wrong:
            raise NotNumbersError(wrong)
        taken += [np.array([codes[cell] for cell in columns[index]]) for index, codes in self._codes.items()]
        self._store.append(taken, size)

    def table(self) -> Table:
        """The data."""
        lines, *found = self._store.columns()
        if not len(lines):
            raise DataError(f"{self._path} has column names but no rows")
        columns: dict[str, Column] = {}
        for name, numbers in zip(self._numbers.values(), found, strict=False):
            columns[name] = Column(name, numbers)
        for (index, name), codes in zip(self._texts.items(), found[len(self._numbers) :], strict=True):
            columns[name] = Column(name, None, codes.astype(np.int64), self._codes[index].texts)
        return Table(self._path, columns, lines.astype(np.int64))


class _Store:
    """Columns of float64 that grow.

    Memory for the whole file is reserved at the first rows, estimated from their length; unused memory is not
    allocated by the system. So there is never a second copy of a column, which would double the peak.
    """

    def __init__(self, num_columns: int, size: int) -> None:
        self._values: Array = np.empty((num_columns, 0))
        self.num_rows, self._size = 0, size

    def append(self, columns: Sequence[Array], size: int) -> None:
        """Add rows, which took `size` bytes of the file."""
        start, end = self.num_rows, self.num_rows + len(columns[0])
        if end > self._values.shape[1]:
            expected = int(1.05 * len(columns[0]) * self._size / size)
            grown = np.empty((len(columns), max(end + end // 2, 0 if start else expected)))
            grown[:, :start] = self._values[:, :start]
            self._values = grown
        for values, column in zip(self._values, columns, strict=True):
            values[start:end] = column
        self.num_rows = end

    def columns(self) -> list[Array]:
        """All rows, column by column."""
        return list(self._values[:, : self.num_rows])


def _floats(cells: Sequence[str]) -> Sequence[float | None] | None:
    """The numbers in cells, if `float` gives the right result; None if `number` must decide."""
    joined = "".join(cells)
    if not joined.isascii() or "_" in joined:
        return None
    try:
        values = list(map(float, cells))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _short(cell: str) -> str:
    return cell if len(cell) <= 60 else f"{cell[:40]}... ({len(cell):,} characters)"


def _chunks(path: Path, given: BinaryIO | None = None) -> Iterator[tuple[int, str]]:
    """The text of a file in parts that end at line ends, each with the number of its first line."""
    line, parts, first = 1, [b""], True
    try:
        with path.open("rb") if given is None else nullcontext(given) as stream:
            while block := stream.read(CHUNK):
                end = block.rfind(b"\n") + 1
                if not end:
                    parts.append(block)
                    continue
                data, parts = b"".join([*parts, block[:end]]), [block[end:]]
                yield line, _decode(path, data, line, first=first)
                line, first = line + _num_breaks(data), False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if data := b"".join(parts):
        yield line, _decode(path, data, line, first=first)


def _decode(path: Path, data: bytes, line: int, *, first: bool) -> str:
    utf16 = first and data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in data and not utf16:
        line += data.count(b"\n", 0, data.index(b"\0"))
        raise DataError(
            f"{path}, line {line}: it holds a byte 0x00, as UTF-16 and binary files do\n"
            f"  convert the file first, for example: {_iconv(path, 'utf-16le')}"
        )
    try:
        return data.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        what = ", but as UTF-16 begins" if utf16 else ""
        raise DataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8{what}\n"
            f"  convert the file first, for example: {_iconv(path, 'utf-16' if utf16 else 'latin1')}"
        ) from error


def _iconv(path: Path, encoding: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {path.name} > utf8-{path.name}"


def _delimiter(text: str, delimiter: str, wanted: Sequence[str]) -> str:
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '\r\n"\0'):
        raise UsageError(f"csv: delimiter '{delimiter}' is not one character; use ',', ';', '\\t', '|' or auto")
    if delimiter != "auto":
        return delimiter
    fields = {one: _first_row(text.lstrip("\r\n"), one) for one in DELIMITERS}
    fitting = [one for one, row in fields.items() if wanted and set(wanted) <= set(row)]
    return next(iter(fitting), max(DELIMITERS, key=lambda one: len(fields[one])))


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return []


class _UnendedError(Exception):
    """The text ends within a quoted cell."""

    def __init__(self, told: DataError) -> None:
        super().__init__(str(told))
        self.told = told


def _rows(path: Path, stream: io.StringIO, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its first line."""
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    start = line
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if len(cells) > 1 or any(cells):
                yield start, cells
            start = line + reader.line_num
    except csv.Error as error:
        told = DataError(f"{path}: the row that starts in line {start} cannot be read: {error}")
        if "unexpected end of data" in str(error):
            raise _UnendedError(told) from error
        raise told from error


def _num_breaks(data: bytes) -> int:
    r"""The number of line ends, with ``\n``, ``\r\n`` or ``\r``."""
    num = data.count(b"\n")
    return num + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else num


def _check_header(path: Path, header: Sequence[str]) -> None:
    for index, name in enumerate(header):
        if name in header[:index]:
            raise DataError(f"{path}: two columns are named '{name}' ({header.index(name) + 1} and {index + 1})")
