import csv
import gzip
import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wf.errors import DataError, UsageError
from wf_base import TensorSamples
from wf_base.data import split_dataset
from wf_data.serving import RunData
from wf_datasets.tables.csv_file import csv_file
from wf_datasets.transforms.fill import FillMissing
from wf_datasets.transforms.standardize import Standardize

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
def test_auto_detects_classification_targets(
    tmp_path: Path, cells: list[str], names: list[str], indices: list[int]
) -> None:
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
def test_auto_detects_regression_targets(tmp_path: Path, cells: list[str]) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    assert csv_file(path, target="y").targets == "real"


def test_task_and_categorical_override_the_detection(tmp_path: Path) -> None:
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
def test_delimiter_is_detected(tmp_path: Path, delimiter: str) -> None:
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


@pytest.mark.parametrize(
    ("cells", "targets", "rest"),
    [
        (["0", "NA", "1", "1", "0"], "class_index", [0, 1, 1, 0]),
        (["0.5", "null", "1.25"], "real", [[0.5], [1.25]]),
        ([*map(str, range(50)), "?"], "real", [[float(row)] for row in range(50)]),
    ],
)
def test_missing_values_in_a_numeric_target(tmp_path: Path, cells: list[str], targets: str, rest: list[Any]) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    with pytest.raises(DataError, match="column 'y': the value is missing"):
        csv_file(path, target="y")
    dataset = csv_file(path, target="y", missing="drop")
    assert (dataset.targets, dataset.train.targets.tolist()) == (targets, rest)


def test_missing_drop_logs_the_number_of_dropped_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a,c,y\n1,u,0.5\n,u,0.6\n3,,0.7\n4,v,nan\n5,v,0.9\n")
    with caplog.at_level(logging.WARNING):
        dataset = csv_file(path, target="y", categorical="c", missing="drop")
    assert dataset.train.inputs.tolist() == [[1, 1, 0], [5, 0, 1]]
    assert "3 of 5 rows" in caplog.text


def test_missing_mean(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,y\n1,7,0.5\n,8,0.6\n5,9,0.7\n")
    dataset = csv_file(path, target="y", missing="mean")
    assert dataset.train.inputs.nan_to_num(nan=-1).tolist() == [[1, 7], [-1, 8], [5, 9]]
    data = RunData(dataset, split_dataset(dataset, "100/0", 0, shuffle=False), shuffle=False)
    assert next(data.epoch(0)).inputs.tolist() == [[1, 7], [3, 8], [5, 9]]


def test_missing_mean_uses_the_train_split(tmp_path: Path) -> None:
    path = write(tmp_path, "a,y\n1,0.5\n3,0.6\n,0.7\n100,0.8\n,0.9\n")
    dataset = csv_file(path, target="y", missing="mean")
    data = RunData(dataset, split_dataset(dataset, "40/0/60", 0, shuffle=False), shuffle=False)
    assert next(data.batches("test")).inputs.tolist() == [[2], [100], [2]]
    assert data.own_transforms[0](torch.tensor([[torch.nan], [7.0]])).tolist() == [[2], [7]]
    again = FillMissing()
    again.load_state_dict(data.own_transforms[0].state_dict())
    assert again(torch.tensor([[torch.nan]])).tolist() == [[2]]
    dataset = csv_file(write(tmp_path, "a,y\n,0.5\n,0.6\n1,0.7\n100,0.8\n2,0.9\n"), target="y", missing="mean")
    splits = split_dataset(dataset, "40/0/60", 0, shuffle=False)
    with pytest.raises(DataError, match="no number in the train split"):
        RunData(dataset, splits, shuffle=False)


def test_large_numbers_are_kept_in_float64(tmp_path: Path) -> None:
    rows = "".join(f"{1_700_000_000 + index},{index % 7},{index}.5\n" for index in range(40))
    dataset = csv_file(write(tmp_path, "time,x,y\n" + rows), target="y")
    assert isinstance(dataset.train, TensorSamples)
    assert dataset.train.inputs.dtype == torch.float64
    assert dataset.reader is not None
    assert dataset.reader.read(write(tmp_path, "time,x\n1700000001,1\n", "one.csv")).dtype == torch.float64
    splits = split_dataset(dataset, "100/0", 0, shuffle=False)
    data = RunData(dataset, splits, [(Standardize(), False)], shuffle=False)
    batch = next(data.epoch(0))
    assert batch.inputs.dtype == torch.float32
    assert len(batch.inputs[:, 0].unique()) == 32
    assert data.warnings == []
    (warning,) = RunData(dataset, splits, shuffle=False).warnings
    assert "'time'" in warning
    assert "standardize" in warning
    ordinary = csv_file(write(tmp_path, "year,x,y\n2020,293.15,0.5\n2021,294.6,0.7\n"), target="y")
    assert isinstance(ordinary.train, TensorSamples)
    assert ordinary.train.inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        (["-1", "0", "1"] * 2, "3 different whole numbers (-1, 0, 1)"),
        (["0", "2", "5"] * 2, "are not consecutive from 0 or 1"),
        (["0.0", "1.0"] * 2, "written with a fraction"),
        ([str(value) for value in range(21)] * 2, "more than 20"),
        ([str(value) for value in range(40)] * 2, "more than 20"),
        (["0.5", "1.5"] * 2, None),
        (["0", "2", "5"], None),
    ],
)
def test_a_regression_that_may_be_a_classification_gives_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cells: list[str], hint: str | None
) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    with caplog.at_level(logging.WARNING):
        assert csv_file(path, target="y").targets == "real"
        assert (hint or "nothing is said") in (caplog.text or "nothing is said")
        assert ("--dataset.task classification" in caplog.text) == (hint is not None)
    caplog.clear()
    assert csv_file(path, target="y", task="regression").targets == "real"
    assert csv_file(path, target="y", task="classification").targets == "class_index"
    assert caplog.text == ""


def test_codes_with_leading_zeros_stay_distinct(tmp_path: Path) -> None:
    path = write(tmp_path, "k,y\n007,01\n7,1\n007,01\n010,1\n")
    dataset = csv_file(path, target="y", categorical="k")
    assert list(dataset.feature_names) == ["k=007", "k=010", "k=7"]
    assert (list(dataset.class_names), dataset.train.targets.tolist()) == (["01", "1"], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("cell", "looks"),
    [
        ("3,14", "a number with a decimal comma"),
        ("1,234", "thousands separators"),
        ("1,234,567.8", "thousands separators"),
        ("1.234,5", "thousands separators and a decimal comma"),
        ("1 234", "thousands separators"),
        ("1\u202f234,5", "thousands separators"),
        ("12.5%", "percentage"),
        ("12,5 %", "percentage"),
        ("$1,200.50", "amount of money"),
        ("12 €", "amount of money"),
        ("1_2", "underscore"),
        ("(3.5)", "negative number in brackets"),
        ("−3", "long minus"),
        ("1.5D+03", "Fortran"),
        ("2024-01-31", "a date"),
        ("2024-01-31T12:00:00Z", "a date"),
        ("31.1.2024 12:00", "a date"),
        ("01/31/24", "a date"),
        ("5 Mar 2021", "a date"),
        ("12:30", "time of day"),
        ("12 kg", "a unit"),
        ("１２", "another script"),
    ],
)
def test_numbers_in_local_notation_are_explained(tmp_path: Path, cell: str, looks: str) -> None:
    path = write(tmp_path, f"x;y\n1;0.5\n{cell};0.6\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y")
    message = str(caught.value)
    assert f"line 3, column 'x': '{cell}' is not a number" in message
    assert looks in message
    assert "one-hot" not in message
    with pytest.raises(DataError, match="looks like"):
        csv_file(write(tmp_path, f"x;y\n1;0.5\n2;{cell}\n"), target="y", task="regression")
    if looks == "a number with a decimal comma":  # all of these are decimal commas, so they are read
        return
    other = cell.translate(str.maketrans("23１", "34２"))
    with pytest.raises(DataError, match="looks like"):  # otherwise each would be a class
        csv_file(write(tmp_path, f"x;y\n1;{cell}\n2;{cell}\n3;{other}\n"), target="y")


@pytest.mark.parametrize("cell", ["abc", "1_2", "12 kg", '"1,5"'])
def test_one_word_in_a_numeric_target_is_refused(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"1,{row}.5\n" for row in range(40)) + f"2,{cell}\n3,7\n")
    shown = cell.strip('"')
    with pytest.raises(DataError, match=f"(?s)line 42, column 'y': '{shown}' is not a number.*--dataset.task classif"):
        csv_file(path, target="y", delimiter=",")
    assert len(csv_file(path, target="y", delimiter=",", task="classification").class_names) == 42
    assert len(csv_file(path, target="y", delimiter=",", categorical="y").class_names) == 42
    few = csv_file(write(tmp_path, f"x,y\n1,1\n2,2\n3,{cell}\n4,1\n"), target="y", delimiter=",")
    assert few.targets == ("real" if shown == "1,5" else "class_index"), (
        "a comma is taken as decimal if nothing contradicts"
    )


def test_dates_declared_as_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y\n1,2024-01-31\n2,2024-02-29\n")
    assert csv_file(path, target="y", categorical="y").targets == "class_index"


def test_utf16_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for encoding, word in (("utf-16", "UTF-16"), ("utf-16le", "0x00"), ("utf-16be", "0x00")):
        with pytest.raises(DataError, match=f"(?s){word}.*iconv -f utf-16"):
            csv_file(write(tmp_path, HOUSES.encode(encoding)), target="price")


def test_long_fields_are_refused(tmp_path: Path) -> None:
    for text in (f"x,y\n1,{'a' * 200_000}\n", f"x,y\n1,0.5\n{'9' * 200_000},1.5\n", f'x,y\n1,"{"a" * 200_000}"\n'):
        with pytest.raises(DataError, match=r"line [23] cannot be read"):
            csv_file(write(tmp_path, text), target="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,street\n1,mud\n", r"line 2, column 'street': unknown category 'mud'(?s:.)*gravel, paved"),
        ("a,street\n1,paved\nnan,paved\n", r"line 3, column 'a': the value is missing"),
        ("a,street\n1,\n", r"line 2, column 'street': the value is missing"),
        ("a\n1\n", r"there is no column 'street', which the run was trained with"),
        ("a,street\n1\n", r"line 2: 1 fields"),
        ("a,street\n1,paved,2\n", r"line 2: 3 fields"),
        ("a,street,a\n1,paved,2\n", r"two columns are named 'a'"),
        ("a,street\n1_2,paved\n", r"(?s)line 2, column 'a': '1_2' is not a number.*underscore"),
        ("a,street\n", "no rows"),
        ("", "is empty"),
        (b"a,street\n1,gr\xfcn\n", "not UTF-8"),
        ("a,street\n1,pa\0ved\n", "line 2: it holds a byte 0x00"),
    ],
)
def test_prediction_files_that_do_not_fit(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, "a,street,y\n1,gravel,0.5\n2,paved,0.7\n")
    reader = csv_file(path, target="y", categorical="street", unseen="error").reader
    assert reader is not None
    with pytest.raises(DataError, match=message) as caught:
        reader.read(write(tmp_path, text, "new.csv"))
    assert "--dataset.ignore" not in str(caught.value)


def test_a_prediction_file_may_have_another_dialect(tmp_path: Path) -> None:
    path = write(tmp_path, "a,k=v,new,y\n1,x,true,0.5\n2,y,false,0.7\n")
    reader = csv_file(path, target="y", categorical="k=v").reader
    assert reader is not None
    new = "note|new|k=v| a \nhm, hm|FALSE|y |3\n\nhm||x|4\n".replace("||", "|1|")
    assert reader.read(write(tmp_path, new, "new.tsv")).tolist() == [[3, 0, 1, 0], [4, 1, 0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b,a,y\n2,1,cat\n4,3,dog\n", None),
        ("b,a,y\n2,1,dog\n4,3,dog\n", None),
        ("a,y\n1,cat\n3,dog\n", "unknown column 'b'"),
        ("a,b,y\n1,2,cat\n3,4,wolf\n", "line 3, column 'y': unknown class 'wolf'"),
    ],
)
def test_a_reloaded_table_uses_the_learned_columns_and_classes(tmp_path: Path, text: str, message: str | None) -> None:
    first = csv_file(write(tmp_path, "a,b,y\n1,2,cat\n3,4,dog\n"), target="y")
    assert first.reader is not None
    learned = {"reader": first.reader.description(), "targets": "class_index", "class_names": ["cat", "dog"]}
    path = write(tmp_path, text)
    if message is None:
        again = csv_file(path, target="y", learned=learned)
        assert list(again.feature_names) == ["a", "b"]
        assert again.train.inputs.tolist() == [[1, 2], [3, 4]]
        assert again.train.targets.tolist() == [0 if "cat" in text else 1, 1]
    else:
        with pytest.raises(DataError, match=message):
            csv_file(path, target="y", learned=learned)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,c,y\n1,u,0.5\n2,,0.6\n", "line 3, column 'c'"),
        ("a,c,y\n1,u,\n2,u,0.6\n", "line 2, column 'y'"),
        ("a,c,y\n,u,0.1\n,u,0.6\n", "line 2, column 'a'"),
    ],
)
def test_missing_mean_is_refused_where_there_is_no_mean(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(DataError, match=f"{place}(?s:.)*--dataset.(missing drop|ignore)"):
        csv_file(write(tmp_path, text), target="y", categorical="c", missing="mean")


def test_dropping_every_row_is_refused(tmp_path: Path) -> None:
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
        ("a,y\n1,cat\n2,cat\n", r"only one class \(cat\)"),
        (b"a,y\n1,2\n\xe9,3\n", r"(?s)line 3: byte 0xe9 is not UTF-8.*iconv"),
        ("a,y\n1,2\n".encode("utf-16"), r"line 1: byte 0xff is not UTF-8"),
        (gzip.compress(b"a,y\n1,2\n", mtime=0), r"is compressed \(gzip\)\n  unpack it: gzip -dc .*\.csv > unpacked-"),
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


def test_text_columns_are_named_with_remedies(tmp_path: Path) -> None:
    path = write(tmp_path, "street,x,alley,y\n1,1,Grvl,0.5\nPave,2,Grvl,0.6\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y")
    message = str(caught.value)
    assert "line 3, column 'street': 'Pave' is not a number" in message
    assert "2 columns contain text: street, alley" in message
    assert """--dataset.categorical '["street", "alley"]'""" in message
    assert """--dataset.ignore '["street", "alley"]'""" in message


@pytest.mark.parametrize("option", ["target", "ignore", "categorical"])
def test_missing_column_names_the_closest(tmp_path: Path, option: str) -> None:
    options: dict[str, Any] = {"target": "price", option: "romms"}
    with pytest.raises(DataError, match=rf"(?s)unknown column 'romms'.*did you mean 'rooms'.*--dataset\.{option}"):
        csv_file(write(tmp_path, HOUSES), **options)


def test_comma_separated_columns_suggest_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, "street,x,alley,y\nPave,1,Grvl,0.5\nPave,2,Grvl,0.6\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y", categorical="street, alley")
    assert """--dataset.categorical '["street", "alley"]'""" in str(caught.value)


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


def test_text_in_numeric_targets_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x,a,b,z\n1,0.5,cat,1\n2,0.6,dog,2\n")
    with pytest.raises(DataError, match=r"line 2, column 'b': 'cat' is not a number; a regression"):
        csv_file(path, target="b", ignore="a", task="regression")
    with pytest.raises(DataError, match=r"line 2, column 'b': 'cat' is not a number; several targets"):
        csv_file(path, target=["a", "b"])
    with pytest.raises(DataError, match="unlike 'a'"):
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
