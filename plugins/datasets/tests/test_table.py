"""Tables: both ways of reading give the same, and nothing ends in a traceback."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_tables import CELLS, read, shown, tables

from wf.errors import WfError
from wf_datasets.tables.cells import looks_like, number
from wf_datasets.tables.csv_file import csv_file
from wf_datasets.tables.table import Table
from wf_datasets.tables.table_reader import TableReader
from wf_datasets.tables.text import lines, reading, table_file

QUICK = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in small chunks, so that a few rows are several chunks."""
    monkeypatch.setattr(lines, "CHUNK", 12)


@given(table=tables(), modes=st.lists(st.sampled_from(["number", "text", "skip"]), min_size=4, max_size=4))
@QUICK
def test_fast_and_slow_reading_agree(tmp_path: Path, table: tuple[str, str], modes: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table[0].encode())
    chosen = {f"c{index}": mode for index, mode in enumerate(modes)}
    mixed = shown(read(path, table[1], chosen))
    with mock.patch.object(reading.Reading, "fast", return_value=False):
        assert shown(read(path, table[1], chosen)) == mixed
    with mock.patch.object(lines, "CHUNK", 1 << 20):
        at_once = read(path, table[1], chosen)
    if isinstance(at_once, Table):
        assert shown(at_once) == mixed
    else:  # which one of several faults is found first depends on the chunks
        assert mixed[0] in ("DataError", "NotNumbersError")


def test_a_lone_carriage_return_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r1.5,\r0.0")
    found = read(path, ",", {"a": "number", "b": "number"})
    assert not isinstance(found, Table)
    assert "line 3: 1 fields" in found[1]


@pytest.mark.parametrize(
    "row",
    [
        '1.5,"a, ""b"", c",2',
        '"1.5","a","2"',
        "NA,a,2",
        ",,",
        '"",a," ? "',
        " 1, a , true",
        "nan,1,-NaN",
        "False,é,null",
    ],
)
def test_every_kind_of_row_is_read_by_the_fast_path(tmp_path: Path, row: str) -> None:
    path = tmp_path / "t.csv"
    modes: dict[str, Any] = {"a": "number", "b": "text", "c": "number"}
    for end in ("\n", "\r\n"):
        path.write_bytes(("a,b,c\n" + f"{row}\n7,b,8\n" * 5 + row).replace("\n", end).encode())
        with mock.patch.object(reading.Reading, "fast", return_value=False):
            expected = read(path, ",", modes)
        assert isinstance(expected, Table)
        with mock.patch.object(reading.Reading, "slow", side_effect=AssertionError):
            assert shown(read(path, ",", modes)) == shown(expected)


@given(
    first=st.lists(st.integers(-50, 50).map(str), min_size=22, max_size=40),
    last=st.lists(CELLS.filter(str.isprintable), max_size=2),
    missing=st.sampled_from(["error", "drop"]),
)
@QUICK
def test_a_target_is_the_same_without_reading_first_rows_ahead(
    tmp_path: Path, first: list[str], last: list[str], missing: Any
) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("x", "y"), *((1, cell) for cell in first + last)])
    found: list[Any] = []
    for rows in (table_file.FIRST, 0):
        with mock.patch.object(table_file, "FIRST", rows):
            try:
                dataset = csv_file(path, "y", missing=missing, delimiter=",", decimal=".")
                found.append((dataset.targets, dataset.class_names, dataset.train.targets.tolist()))
            except WfError as error:
                found.append(str(error))
    assert found[0] == found[1]


@given(data=st.binary(max_size=80))
@QUICK
def test_arbitrary_bytes_give_a_table_or_an_error_of_wf(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n" + data)
    for modes in ({"a": "number", "b": "text"}, {"a": "text", "b": "skip"}):
        read(path, "auto", modes)
    path.write_bytes(data)
    read(path, "auto", {})


@given(table=tables(), missing=st.sampled_from(["error", "drop", "mean"]), categorical=st.booleans())
@QUICK
def test_prediction_reads_what_training_read(
    tmp_path: Path, table: tuple[str, str], missing: Any, categorical: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table[0].encode())
    try:
        dataset = csv_file(path, "c0", categorical="c1" if categorical else (), missing=missing, delimiter=table[1])
    except WfError:
        return
    assert dataset.reader is not None
    again = TableReader(**dataset.reader.description())
    assert again.description() == dataset.reader.description()
    if missing == "drop":
        return
    assert torch.equal(again.read(path).nan_to_num(nan=7e7), dataset.train.inputs.nan_to_num(nan=7e7))
    learned = {"reader": dataset.reader.description(), "targets": dataset.targets, "class_names": dataset.class_names}
    once_more = csv_file(
        path, "c0", categorical="c1" if categorical else (), missing=missing, delimiter=table[1], learned=learned
    )
    assert torch.equal(once_more.train.targets, dataset.train.targets)
    assert list(once_more.class_names) == list(dataset.class_names)


@given(cell=st.one_of(CELLS, st.from_regex(r"[+-]?[0-9.,_eE]{1,6}%?", fullmatch=True)))
@QUICK
def test_numbers_are_a_subset_of_what_float_accepts(cell: str) -> None:
    value = number(cell)
    if value is not None and np.isfinite(value) and cell.lower() not in ("true", "false"):
        assert value == float(cell)
        assert cell.isascii()
        assert "_" not in cell
    looks_like(cell)
