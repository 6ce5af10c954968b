"""Large tables are read by pyarrow, as by the csv module."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_tables import read, shown, tables

from wf_datasets.tables.table import Table
from wf_datasets.tables.text import lines, reading, table_file
from wf_datasets.tables.text.arrow_rows import ArrowRows

QUICK = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODES: dict[str, Any] = {"a": "number", "b": "text", "c": "number", "d": "skip"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in small chunks with pyarrow, so that a few rows are several groups of chunks."""
    monkeypatch.setattr(lines, "CHUNK", 12)
    monkeypatch.setattr(reading, "GROUP", 3)
    monkeypatch.setattr(table_file, "LARGE", 0)


def slowly(path: Path, delimiter: str, modes: dict[str, Any], decimal: Any = ".") -> Any:
    with (
        mock.patch.object(table_file, "LARGE", 1 << 60),
        mock.patch.object(reading.Reading, "fast", return_value=False),
    ):
        return shown(read(path, delimiter, modes, decimal))


@given(
    table=tables(),
    modes=st.lists(st.sampled_from(["number", "text", "skip"]), min_size=4, max_size=4),
    decimal=st.sampled_from(".,"),
)
@QUICK
def test_pyarrow_and_the_csv_module_read_the_same(
    tmp_path: Path, table: tuple[str, str], modes: list[str], decimal: Any
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table[0].encode())
    chosen = {f"c{index}": mode for index, mode in enumerate(modes)}
    assert shown(read(path, table[1], chosen, decimal)) == slowly(path, table[1], chosen, decimal)


@pytest.mark.parametrize(
    "row",
    [
        '1.5,"a, ""b"", c",2,',
        '"1.5","a","2",x',
        "NA,a,2,NA",
        ",,,",
        '"",a,"?",""',
        "nan,1,-NaN,2",
        "1e-320, é ,nULL,#",
        "+1,#,-.5,",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_rows_are_read_by_pyarrow(tmp_path: Path, row: str, end: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(("a,b,c,d\n" + f"{row}\n7,b,8,9\n" * 5 + row).replace("\n", end).encode())
    expected = slowly(path, ",", MODES)
    refused = AssertionError("the rows were not read by pyarrow")
    with mock.patch.object(reading.Reading, "fast", side_effect=refused):
        assert shown(read(path, ",", MODES)) == expected


@pytest.mark.parametrize(
    "row",
    [
        "+-1,a,2,",
        "true,a,2,",
        "nan(1),a,2,",
        "1e39,a,2,",
        "\ufeff1,a,2,",
        "1,a,2",
        '1,a"b,2,',
        "1,l\r2,m,2,",
        "",
        f"1,{'long' * 40_000},2,",
    ],
    ids=lambda row: row[:12],
)
def test_other_rows_are_left_to_the_csv_module(tmp_path: Path, row: str) -> None:
    rows = ArrowRows(4, ",", [0, 2], {1: {"a": 0.0, "b": 1.0, "m": 2.0}})
    for text in (f"{row}\n1,b,2,3\n", f"1,b,2,3\n{row}\n"):
        if text.startswith("1") and row.startswith("\ufeff"):
            continue  # no byte order mark
        assert rows.parse(text) is None
        path = tmp_path / "t.csv"
        path.write_text(f"a,b,c,d\n{text}", newline="")
        assert shown(read(path, ",", MODES)) == slowly(path, ",", MODES)


def test_numbers_are_parsed_to_the_same_bits_as_by_float(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 1 << 64, 3000, dtype=np.uint64).view(np.float64)
    given = bits[np.abs(bits) < 1e38].tolist()
    texts = [form.format(number) for number in given for form in ("{!r}", "{:.17e}", "{:.40e}", "{:.3e}")]
    texts += ["5e-324", "2.4703282292062328e-324", "2.47032822920623e-324", "9007199254740993", "0." + "0" * 400 + "1"]
    rows = ArrowRows(2, ",", [0], {})
    parts = rows.parse(",\n".join([*texts, ""]))
    assert parts is not None
    assert np.concatenate([part[0] for part in parts]).tobytes() == np.array(list(map(float, texts))).tobytes()


def test_faults_are_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 20 + b"1,x\n" + b"1,2\n" * 9 + b"\xff,2\n")
    modes: dict[str, Any] = {"a": "number", "b": "number"}
    found = read(path, ",", modes)
    assert not isinstance(found, Table)
    assert "(22, 'x')" in found[1]
    path.write_bytes(path.read_bytes().replace(b"x", b"3"))
    found = read(path, ",", modes)
    assert not isinstance(found, Table)
    assert "line 32: byte 0xff is not UTF-8" in found[1]


def test_texts_have_codes_in_order_of_appearance(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("a", "b", "c"), *((number, f"t{number % 7}", -number) for number in range(999))])
    modes: dict[str, Any] = {"a": "number", "b": "text", "c": "number"}
    assert shown(read(path, ",", modes)) == slowly(path, ",", modes)
