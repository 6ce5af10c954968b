"""Rows of plain cells, parsed by pyarrow on all threads.

It accepts text only if the result is certain to equal that of the csv module and `wf_datasets.tables.cells.number`,
bit for bit.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wf_datasets.tables.cells import MISSING
from wf_datasets.tables.text.plain_rows import LARGEST, Array, has_lone_return, well_quoted

if TYPE_CHECKING:
    import pyarrow


def has_arrow() -> bool:
    """Whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


class ArrowRows:
    """Parses many rows at once.

    Args:
        width: The number of cells in a row.
        delimiter: The character between them.
        numbers: The positions of the cells that are numbers.
        codes: The number of each text, by the position of its cell.
    """

    def __init__(
        self, width: int, delimiter: str, numbers: Sequence[int], codes: Mapping[int, Mapping[str, float]]
    ) -> None:
        import pyarrow
        from pyarrow import csv as reader

        self._delimiter, self._numbers, self._codes = delimiter, numbers, codes
        types: dict[str, Any] = dict.fromkeys(map(str, numbers), pyarrow.float64())
        types |= dict.fromkeys(map(str, codes), pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
        self._arrow, self._reader = pyarrow, reader
        self._names = reader.ReadOptions(column_names=list(map(str, range(width))))
        self._types = reader.ConvertOptions(column_types=types, include_columns=list(types), null_values=_spellings())

    def parse(self, text: str) -> list[list[Array]] | None:
        """Parts with the columns of numbers, nan for a missing one, and of codes; None if uncertain.

        Args:
            text: Whole lines.
        """
        if not self._is_plain(text):
            return None
        parsing = self._reader.ParseOptions(delimiter=self._delimiter)
        data = self._arrow.py_buffer(text.encode())
        try:
            rows = self._reader.read_csv(data, self._names, parsing, self._types)
        except self._arrow.ArrowInvalid:  # another number, or a ragged line
            return None
        if rows.num_rows != text.count("\n") + (not text.endswith("\n")):  # blank lines
            return None
        parts = [self._columns(batch) for batch in rows.to_batches()]
        found = [columns for columns in parts if columns is not None]
        return found if len(found) == len(parts) else None

    def _columns(self, batch: pyarrow.RecordBatch) -> list[Array] | None:
        columns = []
        for index in self._numbers:
            numbers = _numbers(batch.column(str(index)))
            if numbers is None:
                return None
            columns.append(numbers)
        for index, codes in self._codes.items():
            coded = batch.column(str(index))
            values = np.array([codes[text] for text in coded.dictionary.to_pylist()])
            columns.append(values[_values(coded.indices, np.int32)])
        return columns

    def _is_plain(self, text: str) -> bool:
        if len(self._names.column_names) == 1 or not self._types.include_columns or not self._delimiter.isascii():
            return False  # of a single column, "" is a blank line
        if text.startswith("\ufeff") or has_lone_return(text):  # pyarrow drops a byte order mark
            return False
        return not _has_long_line(text) and ('"' not in text or well_quoted(text, self._delimiter))


def _spellings() -> list[str]:
    """The missing values in upper and lower case."""
    return ["".join(cased) for word in MISSING for cased in itertools.product(*({c, c.upper()} for c in word))]


def _has_long_line(text: str) -> bool:
    """Whether a line may have a cell that is too long for the csv module."""
    half = csv.field_size_limit() // 2
    return any(text.find("\n", start, start + half) < 0 for start in range(0, len(text) - half, half))


def _numbers(column: pyarrow.Array) -> Array | None:
    """The numbers of a column if all fit float32."""
    numbers = _values(column, np.float64)
    there = numbers
    if column.null_count:
        bits = np.frombuffer(column.buffers()[0], np.uint8)
        is_there = np.unpackbits(bits, count=column.offset + len(column), bitorder="little")[column.offset :] == 1
        there = numbers[is_there]
        numbers = np.where(is_there, numbers, np.nan)
    # a number that is nan, such as nan(1), does not fit
    fit = not len(there) or bool(there.min() >= -LARGEST and there.max() <= LARGEST)
    return numbers if fit else None


def _values(column: pyarrow.Array, dtype: type[np.generic]) -> Array:
    """The values in a column's memory; pyarrow's own `to_numpy` imports pandas, which takes half a second."""
    values: Array = np.frombuffer(column.buffers()[1], dtype)
    return values[column.offset : column.offset + len(column)]
