"""Text files of tables in many dialects, and what is read from them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from wf.errors import DataError
from wf_datasets.tables.table import NotNumbersError, Table
from wf_datasets.tables.text.table_file import TableFile

CELLS = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**14), 10**14).map(str),
    st.sampled_from(
        [
            *("1", "007", "1.", ".5", "+1", "1e5", "1E-3", " 2 ", "\t3", "1_2", "1e999", "1e39", "inf", "nan", "-NaN"),
            *("", "?", "true", "False", "0x10", "1 2", "1,5", "１２", "−1", "1d3", "cat", "a'b", "é", " ", "NA", "# 1"),
            *("1e-400", "00", "-0", "--1", "1e", ".", "e5", "Infinity", "nan(1)", "\x1c5", "\x0c6", "\u20287", "l\rm"),
            *("3.4028235e38", "+-1", "+.5", "+", "infinit", "0x1p3", "1f", "+nan", "n/A", "\ufeff1"),
        ]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=4),
)


def tables() -> st.SearchStrategy[tuple[str, str]]:
    """Text files in many dialects, most of them nearly well-formed, and their delimiters."""

    @st.composite
    def made(draw: st.DrawFn) -> tuple[str, str]:
        delimiter = draw(st.sampled_from(",;\t|"))
        width = draw(st.integers(1, 4))
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None]))
        end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]))
        usual = draw(st.sampled_from([CELLS, st.integers(-9, 9).map(str), st.sampled_from(["1.5", "", "NA", "u"])]))
        rows = draw(st.lists(st.lists(usual, min_size=width, max_size=width), max_size=8))
        rows += draw(st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=1))
        rows.insert(0, [f"c{index}" for index in range(width)])
        if quoting is None:
            text = "".join(delimiter.join(row) + end for row in rows)
        else:
            stream = io.StringIO(newline="")
            csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
            text = stream.getvalue()
        return (text if draw(st.booleans()) else text.rstrip("\r\n")), delimiter

    return made()


def read(path: Path, delimiter: str, modes: dict[str, Any], decimal: Any = ".") -> Table | tuple[str, str]:
    """The table in a file, or the error that refuses it."""
    try:
        return TableFile(path, delimiter).read(modes, decimal)
    except (DataError, NotNumbersError) as error:
        return type(error).__name__, str(error)


def shown(found: Table | tuple[str, str]) -> Any:
    """The bits of a table, to compare."""
    if isinstance(found, tuple):
        return found
    columns = {
        name: column.numbers.tobytes()
        if column.numbers is not None
        else ([] if column.codes is None else column.codes.tolist(), list(column.texts))
        for name, column in found.columns.items()
    }
    return found.lines.tolist(), columns
