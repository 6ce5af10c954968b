"""Rows of text to columns of arrays, checked.

A chunk of plain rows is parsed by `numpy.loadtxt`; if that fails or is uncertain, the csv module and
`wf_datasets.tables.cells.number` parse it and locate errors. Where pyarrow is installed, many chunks of a large file
are parsed at once on all threads. All of them give the same bits.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wf.errors import DataError
from wf_datasets.tables.cells import number, number_with_comma
from wf_datasets.tables.table import Column, Mode, NotNumbersError, Table, place
from wf_datasets.tables.text.arrow_rows import ArrowRows
from wf_datasets.tables.text.lines import UnendedError, rows_of
from wf_datasets.tables.text.plain_rows import Array, PlainRows

GROUP = 8
"""The number of chunks that pyarrow parses at once."""


class Reading:
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

    def at_once(self, chunks: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Read many chunks at a time, until one is not certain to be read as by `slow`; returns the chunks that are
        left."""
        arrow = ArrowRows(len(self._header), self._delimiter, list(self._numbers), self._codes)
        while True:
            group: list[tuple[int, str]] = []
            try:
                for chunk in itertools.islice(chunks, GROUP):
                    group.append(chunk)
            except DataError as error:  # the chunks before it come first
                return itertools.chain(group, _raise(error))
            if not group:
                return iter(())
            text = self._with_points("".join(text for _, text in group))
            parts = None if text is None else arrow.parse(text)
            if text is None or parts is None:
                return itertools.chain(group, chunks)
            line = group[0][0]
            for columns in parts:
                self._store.append([np.arange(line, line + len(columns[0])), *columns], len(text) // len(parts))
                line += len(columns[0])

    def fast(self, line: int, text: str) -> bool:
        """Read a chunk of plain rows with the same result as `slow`; returns whether it could."""
        pointed = self._with_points(text)
        rows = None if pointed is None else self._plain.parse(pointed)
        if rows is None:
            return False
        columns = [rows[:, index] for index in (*self._numbers, *self._texts)]
        self._store.append([np.arange(line, line + len(rows)), *columns], len(text))
        return True

    def _with_points(self, text: str) -> str | None:
        """Plain rows with decimal points; None if a comma may be something else."""
        if self._decimal == ".":
            return text
        if self._texts or self._delimiter == "," or "." in text:  # only cells that are numbers have commas
            return None
        return text.replace(",", ".")

    def slow(self, line: int, text: str, more: Iterator[tuple[int, str]]) -> None:
        """Read a chunk, and the following chunks while a quoted cell continues."""
        num_chunks = 1
        while True:
            try:
                found = list(rows_of(self._path, io.StringIO(text, newline=""), self._delimiter, line))
                break
            except UnendedError as error:
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


def _raise(error: DataError) -> Iterator[tuple[int, str]]:
    raise error
    yield
