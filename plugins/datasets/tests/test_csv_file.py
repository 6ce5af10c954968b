import csv
import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wf.errors import DataError, UsageError
from wf_datasets.csv_file import csv_file

HOUSES = "area,rooms,price\n50,2,100.5\n80,3,150.0\n120,5,310.25\n"


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_regression(tmp_path: Path) -> None:
    dataset = csv_file(write(tmp_path, HOUSES), target="price")
    assert dataset.targets == "real"
    assert dataset.train.inputs.tolist() == [[50, 2], [80, 3], [120, 5]]
    assert dataset.train.targets.tolist() == [[100.5], [150.0], [310.25]]
    assert (dataset.train.inputs.dtype, dataset.train.targets.dtype) == (torch.float32, torch.float32)
    assert (list(dataset.feature_names), list(dataset.target_names)) == (["area", "rooms"], ["price"])
    assert list(dataset.class_names) == []


def test_several_targets(tmp_path: Path) -> None:
    dataset = csv_file(write(tmp_path, HOUSES), target=["price", "area"])
    assert dataset.targets == "real"
    assert dataset.train.targets.tolist() == [[100.5, 50], [150.0, 80], [310.25, 120]]
    assert list(dataset.target_names) == ["price", "area"]
    assert list(dataset.feature_names) == ["rooms"]


def test_several_targets_of_zero_and_one_are_multilabel(tmp_path: Path) -> None:
    path = write(tmp_path, "x,a,b\n1,0,true\n2,1,false\n")
    dataset = csv_file(path, target=["a", "b"])
    assert (dataset.targets, list(dataset.class_names)) == ("multilabel", ["a", "b"])
    assert dataset.train.targets.tolist() == [[0, 1], [1, 0]]
    assert csv_file(path, target=["a", "b"], task="regression").targets == "real"


@pytest.mark.parametrize(
    ("cells", "names", "indices"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        (["True", "false", "TRUE"], ["false", "true"], [1, 0, 1]),
        (["0", "1", "2", "0", "1", "2"], ["0", "1", "2"], [0, 1, 2, 0, 1, 2]),
        (["3", "1", "2", "1", "3", "2"], ["1", "2", "3"], [2, 0, 1, 0, 2, 1]),
        (["-1", "+1", "-1", "1"], ["-1", "1"], [0, 1, 0, 1]),
        (["none", "mild", "none"], ["mild", "none"], [1, 0, 1]),
    ],
)
def test_auto_takes_for_classes(tmp_path: Path, cells: list[str], names: list[str], indices: list[int]) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    dataset = csv_file(path, target="y")
    assert (dataset.targets, list(dataset.class_names)) == ("class_index", names)
    assert dataset.train.targets.tolist() == indices
    assert dataset.train.targets.dtype == torch.int64


@pytest.mark.parametrize(
    "cells",
    [
        ["0.0", "1.0", "0.0", "1.0"],
        ["0", "1", "2", "3"],
        ["0", "1", "2", "0", "1"],
        ["10", "20", "30"] * 2,
        ["1e0", "0", "1", "0"],
        [str(value) for value in range(21)] * 2,
        ["5", "5", "5"],
    ],
)
def test_auto_takes_for_a_regression(tmp_path: Path, cells: list[str]) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    assert csv_file(path, target="y").targets == "real"


def test_task_and_categorical_decide_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y\n1,10\n2,9\n3,10\n")
    assert csv_file(path, target="y", task="classification").class_names == ["9", "10"]
    assert csv_file(path, target="y", categorical="y").class_names == ["9", "10"]
    zero_one = write(tmp_path, "x,y\n1,0\n2,1\n3,0\n4,1\n")
    assert csv_file(zero_one, target="y").targets == "class_index"
    assert csv_file(zero_one, target="y", task="regression").targets == "real"


def test_categorical_columns_are_one_hot(tmp_path: Path) -> None:
    path = write(tmp_path, "a,colour,b,y\n1,red,2,0.5\n3,blue,4,1.5\n5,red,6,2.5\n")
    dataset = csv_file(path, target="y", categorical=("colour",))
    assert list(dataset.feature_names) == ["a", "colour=blue", "colour=red", "b"]
    assert dataset.train.inputs.tolist() == [[1, 0, 1, 2], [3, 1, 0, 4], [5, 0, 1, 6]]


def test_categorical_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "k,y\n10,0.5\n2,1.5\n")
    assert csv_file(path, target="y", categorical="k").feature_names == ["k=2", "k=10"]


def test_ignored_columns_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path, "id,x,y,note\nA1,1,0.5,\nA2,2,0.7,hm\n")
    assert list(csv_file(path, target="y", ignore=("id", "note")).feature_names) == ["x"]


def test_booleans_are_numbers_as_inputs(tmp_path: Path) -> None:
    assert csv_file(write(tmp_path, "x,y\nTrue,0.5\nfalse,0.7\n"), target="y").train.inputs.tolist() == [[1], [0]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path, HOUSES.replace(",", delimiter))
    assert list(csv_file(path, target="price").feature_names) == ["area", "rooms"]


def test_delimiter_in_quotes_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, '"a;b;c;d",y\n1,0.5\n')
    assert list(csv_file(path, target="y").feature_names) == ["a;b;c;d"]


def test_given_delimiter(tmp_path: Path) -> None:
    assert len(csv_file(write(tmp_path, "x:y\n1:0.5\n"), target="y", delimiter=":").train) == 1
    assert len(csv_file(write(tmp_path, "x\ty\n1\t0.5\n"), target="y", delimiter="\\t").train) == 1
    for delimiter in ("", "::", '"', "\n"):
        with pytest.raises(UsageError, match="delimiter"):
            csv_file(write(tmp_path, HOUSES), target="price", delimiter=delimiter)


def test_byte_order_mark_blank_lines_blanks_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf\r\n x , y \r\n\r\n 1 , 0.5 \r\n2,0.7\r\n\r\n")
    dataset = csv_file(path, target="y")
    assert (list(dataset.feature_names), dataset.train.inputs.tolist()) == (["x"], [[1], [2]])


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, HOUSES, "houses.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(csv_file(Path("~/houses.csv"), target="price").train) == 3


def test_missing_values_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,y\n1,2,0.5\n,NA,0.6\n3,?,0.7\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y")
    message = str(caught.value)
    assert "line 3, column 'a': the value is missing" in message
    assert "3 missing in all: 1 in a, 2 in b" in message
    assert "--dataset.missing drop" in message
    assert "--dataset.missing mean" in message


def test_missing_drop_says_what_it_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a,c,y\n1,u,0.5\n,u,0.6\n3,,0.7\n4,v,nan\n5,v,0.9\n")
    with caplog.at_level(logging.WARNING):
        dataset = csv_file(path, target="y", categorical="c", missing="drop")
    assert dataset.train.inputs.tolist() == [[1, 1, 0], [5, 0, 1]]
    assert "3 of 5 rows" in caplog.text


def test_missing_mean(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,y\n1,7,0.5\n,8,0.6\n5,9,0.7\n")
    assert csv_file(path, target="y", missing="mean").train.inputs.tolist() == [[1, 7], [3, 8], [5, 9]]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,c,y\n1,u,0.5\n2,,0.6\n", "line 3, column 'c'"),
        ("a,c,y\n1,u,\n2,u,0.6\n", "line 2, column 'y'"),
        ("a,c,y\n,u,0.1\n,u,0.6\n", "line 2, column 'a'"),
    ],
)
def test_missing_mean_has_limits(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(DataError, match=f"{place}(?s:.)*--dataset.missing drop"):
        csv_file(write(tmp_path, text), target="y", categorical="c", missing="mean")


def test_nothing_left_after_drop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every one of its 2 rows"):
        csv_file(write(tmp_path, "a,y\n,1.5\n,2.5\n"), target="y", missing="drop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,y\n", "column names but no rows"),
        ("a,y\n1,2\n1,2,3\n", r"line 3: 3 fields, but the first line names 2 columns"),
        ("a,y\n1\n", r"line 2: 1 fields"),
        ("a,y,a\n1,2,3\n", r"two columns are named 'a' \(1 and 3\)"),
        ('a,y\n1,2\n"x,2\n', r"starts in line 3 cannot be read"),
        ('a,y\n"x"z,2\n', r"starts in line 2 cannot be read"),
        ("a,y\n1,2.5\ninf,3.5\n", r"line 3, column 'a': inf is not a finite"),
        ("a,y\n1,2.5\n1e39,3.5\n", r"line 3, column 'a': 1e39 is not a finite"),
        ("a,y\n1,-Infinity\n", r"line 2, column 'y': -Infinity is not a finite"),
        ("y\n1\n", r"no column is left as an input"),
        (",a,y\n0,1,2.5\n", r"(?s)column 1 has no name.*--dataset\.ignore '\[\"\"\]'"),
        ("a,y\n1,cat\n2,cat\n", r"one class only \(cat\)"),
        (b"a,y\n1,2\n\xe9,3\n", r"(?s)line 3: byte 0xe9 is not UTF-8.*iconv"),
        ("a,y\n1,2\n".encode("utf-16"), r"line 1: byte 0xff is not UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        csv_file(write(tmp_path, text), target="y")


def test_unnamed_column_can_be_ignored(tmp_path: Path) -> None:
    dataset = csv_file(write(tmp_path, ",a,y\n0,1,2.5\n"), target="y", ignore=("",))
    assert list(dataset.feature_names) == ["a"]


def test_line_numbers_count_lines_not_rows(tmp_path: Path) -> None:
    text = 'note,x,y\n"two\nlines",1,0.5\n\n"more\nlines",oops,0.6\n'
    with pytest.raises(DataError, match=r"line 5, column 'x': 'oops'"):
        csv_file(write(tmp_path, text), target="y", ignore="note")


def test_text_says_which_columns_and_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path, "street,x,alley,y\n1,1,Grvl,0.5\nPave,2,Grvl,0.6\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y")
    message = str(caught.value)
    assert "line 3, column 'street': 'Pave' is not a number" in message
    assert "text stands in 2 columns: street, alley" in message
    assert """--dataset.categorical '["street", "alley"]'""" in message
    assert """--dataset.ignore '["street", "alley"]'""" in message


@pytest.mark.parametrize("option", ["target", "ignore", "categorical"])
def test_missing_column_names_the_closest(tmp_path: Path, option: str) -> None:
    options: dict[str, Any] = {"target": "price", option: "romms"}
    with pytest.raises(DataError, match=rf"(?s)unknown column 'romms'.*did you mean 'rooms'.*--dataset\.{option}"):
        csv_file(write(tmp_path, HOUSES), **options)


def test_missing_file_names_the_closest(tmp_path: Path) -> None:
    write(tmp_path, HOUSES, "houses.csv")
    with pytest.raises(DataError, match=r"(?s)no file .*house\.csv.*did you mean 'houses\.csv'"):
        csv_file(tmp_path / "house.csv", target="price")
    with pytest.raises(DataError, match="there is no folder"):
        csv_file(tmp_path / "gone" / "house.csv", target="price")
    with pytest.raises(DataError, match="is a folder"):
        csv_file(tmp_path, target="price")


def test_contradicting_options(tmp_path: Path) -> None:
    path = write(tmp_path, HOUSES)
    with pytest.raises(UsageError, match="both target and ignored"):
        csv_file(path, target="price", ignore="price")
    for target in ([], ["price", "price"]):
        with pytest.raises(UsageError, match="target is"):
            csv_file(path, target=target)


def test_text_targets_that_cannot_be_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "x,a,b,z\n1,0.5,cat,1\n2,0.6,dog,2\n")
    with pytest.raises(DataError, match=r"line 2, column 'b': 'cat' is not a number; a regression"):
        csv_file(path, target="b", ignore="a", task="regression")
    with pytest.raises(DataError, match=r"line 2, column 'b': 'cat' is not a number; several targets"):
        csv_file(path, target=["a", "b"])
    with pytest.raises(DataError, match="not so in 'a'"):
        csv_file(path, target=["a", "x"], ignore="b", task="classification")


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), min_size=1, max_size=8
).filter(lambda text: text == text.strip())
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(data=st.data(), names=st.lists(NAMES, min_size=2, max_size=5, unique=True), num_rows=st.integers(1, 8))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, data: st.DataObject, names: list[str], num_rows: int) -> None:
    row = st.lists(NUMBERS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=num_rows, max_size=num_rows))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    path = write(tmp_path, text.getvalue())
    dataset = csv_file(path, target=names[-1], task="regression", delimiter=delimiter)
    assert list(dataset.feature_names) == names[:-1]
    assert torch.equal(dataset.train.inputs, torch.tensor([row[:-1] for row in rows]))
    assert torch.equal(dataset.train.targets, torch.tensor([row[-1:] for row in rows]))


@given(cells=st.lists(NAMES.filter(lambda text: text.lower() != "nan"), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_hot_round_trip(tmp_path: Path, cells: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["c", "y"], *([cell, "0.5"] for cell in cells)])
    dataset = csv_file(write(tmp_path, text.getvalue()), target="y", categorical="c", task="regression", delimiter=",")
    assert torch.equal(dataset.train.inputs.sum(1), torch.ones(len(cells)))
    found = [dataset.feature_names[index] for index in dataset.train.inputs.argmax(1).tolist()]
    if not all(cell.lower() in ("true", "false") or cell.lstrip("+-").isdecimal() for cell in cells):
        assert found == [f"c={cell}" for cell in cells]
