"""Rows of plain cells, parsed by `numpy.loadtxt`.

It accepts text only if the result is certain to equal that of the csv module and `wf_datasets.tables.cells.number`,
bit for bit.
"""

from __future__ import annotations

import csv
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wf_datasets.tables.cells import number

LARGEST = float(np.finfo(np.float32).max)

Array = np.ndarray[Any, np.dtype[Any]]
_QUOTE, _LINE_END, _BLANK = b'"\n '
_BEGINS_NUMBER = np.zeros(256, dtype=bool)
_BEGINS_NUMBER[list(b"0123456789+-.")] = True


class PlainRows:
    """Parses chunks of rows.

    Args:
        width: The number of cells in a row.
        delimiter: The character between them.
        numbers: The positions of the cells that are numbers.
        converters: Convert each other cell to a number.
    """

    def __init__(
        self, width: int, delimiter: str, numbers: Sequence[int], converters: dict[int | str, Callable[[str], float]]
    ) -> None:
        self._width, self._delimiter = width, delimiter
        self._numbers: Array = np.array(numbers, dtype=np.int64)
        self._converters = converters
        self._has_words = False

    def parse(self, text: str) -> Array | None:
        """The rows of a chunk ``[N, width]``, nan for a missing number; None if uncertain.

        Args:
            text: Whole lines.
        """
        if has_lone_return(text) or ('"' in text and not well_quoted(text, self._delimiter)):
            return None
        if self._width == 1 and not all(line.replace('"', "").strip() for line in text.removesuffix("\n").split("\n")):
            return None  # a blank line is not a row
        rows = None if self._has_words else self._load(text)
        if rows is None and len(self._numbers):
            rows = self._load_words(text)
            self._has_words = rows is not None  # the next chunk will have some, too
        return rows

    def _load(self, text: str) -> Array | None:
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        if not lines or max(map(len, lines)) >= csv.field_size_limit():
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns about a chunk of blank lines
                rows = np.loadtxt(
                    lines,
                    dtype=np.float64,
                    delimiter=self._delimiter,
                    quotechar='"',
                    comments=None,
                    converters=self._converters,
                    encoding=None,
                    ndmin=2,
                )
        except (ValueError, TypeError):
            return None
        if rows.shape != (len(lines), self._width):  # blank or ragged lines
            return None
        return rows if _fit_float32(rows) else None

    def _load_words(self, text: str) -> Array | None:
        """Parse rows with missing or non-numeric cells, which become 0."""
        data = text.encode()
        data = data if data.endswith(b"\n") else data + b"\n"
        cells = self._cells(np.frombuffer(data, dtype=np.uint8))
        if cells is None:
            return None
        rows, columns, starts, ends = cells
        values, kept, last = [], [], 0
        try:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                values.append(_word(data[start:end]))
                kept.append(data[last:start])
                last = end
        except ValueError:
            return None
        found = self._load(b"0".join([*kept, data[last:]]).decode())
        if found is not None:
            found[rows, columns] = values
        return found if found is not None and _fit_float32(found) else None

    def _cells(self, data: Array) -> tuple[Array, Array, Array, Array] | None:
        """The row, column, start and end of each cell in a numeric column that does not begin like a number."""
        limits = (data == _LINE_END) | (data == ord(self._delimiter)) if self._delimiter.isascii() else None
        if limits is None:
            return None
        quotes = data == _QUOTE
        if quotes.any():
            limits &= np.cumsum(quotes, dtype=np.uint8) % 2 == 0
        ends: Array = np.flatnonzero(limits)
        if len(ends) % self._width or (data[ends[self._width - 1 :: self._width]] != _LINE_END).any():
            return None
        starts: Array = np.concatenate(([0], ends[:-1] + 1)).reshape(-1, self._width)
        ends = ends.reshape(-1, self._width)
        ends[:, -1] -= (data[ends[:, -1] - 1] == ord("\r")) & (ends[:, -1] > starts[:, -1])
        starts, ends = starts[:, self._numbers], ends[:, self._numbers]
        quoted = data[starts] == _QUOTE
        starts, ends = starts + quoted, ends - quoted
        first = starts.copy()
        while (blank := (data[first] == _BLANK) & (first < ends)).any():
            first += blank
        rows, columns = np.nonzero(~_BEGINS_NUMBER[data[first]] | (first >= ends))
        return rows, self._numbers[columns], starts[rows, columns], ends[rows, columns]


def well_quoted(text: str, delimiter: str) -> bool:
    """Whether all quotes enclose cells within one line, or are doubled within them."""
    if not delimiter.isascii():
        return False
    data = np.frombuffer(f"\n{text}\n".encode(), dtype=np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    limits = np.zeros(256, dtype=bool)
    limits[[_LINE_END, ord(delimiter)]] = True
    begins = limits[data[opening - 1]]
    limits[ord("\r")] = True
    ends = limits[data[closing + 1]]
    doubled = opening[1:] == closing[:-1] + 1
    begins[1:] |= doubled
    ends[:-1] |= doubled
    if not (begins.all() and ends.all()):
        return False
    breaks = np.flatnonzero((data == _LINE_END) | (data == ord("\r")))
    return not (np.searchsorted(quotes, breaks) % 2).any()


def has_lone_return(text: str) -> bool:
    r"""Whether a line ends with ``\r`` alone, which `numpy.loadtxt` takes for a blank."""
    return "\r" in text and text.count("\r") > text.count("\r\n")


def _fit_float32(rows: Array) -> bool:
    """Whether all numbers fit float32; every nan is replaced by the standard one, without a sign."""
    low, high = rows.min(), rows.max()
    if np.isnan(high):
        missing = np.isnan(rows)
        rows[missing] = 0
        low, high = rows.min(), rows.max()
        rows[missing] = np.nan
    return bool(low >= -LARGEST and high <= LARGEST)


@functools.lru_cache(maxsize=1000)
def _word(cell: bytes) -> float:
    value = number(cell.decode().strip())
    if value is None:
        raise ValueError(cell)
    return value
