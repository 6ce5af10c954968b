"""Real-world tables: dialects, dates, missing and unseen categories, embeddings."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wf
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_datasets.tables.csv_file import csv_file
from wf_datasets.tables.dates import Dates, parsed
from wf_datasets.tables.table_reader import TableReader
from wf_run.api import open_run


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def inputs_of(dataset: Dataset) -> Any:
    return dataset.train.inputs  # type: ignore[union-attr]  # they are in memory


def restored_reader(dataset: Dataset) -> TableReader:
    """Its reader, restored from the description that a run keeps."""
    assert dataset.reader is not None
    return TableReader(**json.loads(json.dumps(dataset.reader.description())))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_the_dialect_is_detected_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, delimiter: str, bom: bytes
) -> None:
    text = 'a,note,y\n1!5,"two\nlines",0!25\n-2!75,x,1!125\n3,y,2\n'.replace(",", delimiter).replace("!", ",")
    with caplog.at_level(logging.INFO):
        dataset = csv_file(write(tmp_path, bom + text.encode()), target="y", ignore="note")
    assert inputs_of(dataset).tolist() == [[1.5], [-2.75], [3]]
    assert dataset.train.targets.tolist() == [[0.25], [1.125], [2]]  # type: ignore[union-attr]
    words = "tabs" if delimiter == "\t" else repr(delimiter)
    assert f"fields divided by {words}, numbers with a decimal comma" in caplog.text


@pytest.mark.parametrize(
    ("rows", "decimal", "found"),
    [
        ("1,5;x;2\n2,25;y;3", "auto", [1.5, 2.25]),
        ("1,5;x, y.;2\n2,25;y;3", "auto", [1.5, 2.25]),
        ("1,234;x;2\n1,5;y;3", "auto", [1.234, 1.5]),
        ("1,234;x;2\n5,678;y;3", ",", [1.234, 5.678]),
        ("NA;x;2\n+,5;y;3", "auto", [np.nan, 0.5]),
        ("1,5e3;x;2\n2;y;3", "auto", [1500, 2]),
    ],
)
def test_decimal_commas(tmp_path: Path, rows: str, decimal: Any, found: list[float]) -> None:
    path = write(tmp_path, f"a;c;y\n{rows}\n")
    dataset = csv_file(path, target="y", categorical="c", task="regression", decimal=decimal, missing="mean")
    assert torch.equal(inputs_of(dataset)[:, 0].nan_to_num(-9), torch.tensor(found).nan_to_num(-9))
    assert torch.equal(restored_reader(dataset).read(path).nan_to_num(-9), inputs_of(dataset).nan_to_num(-9))  # type: ignore[union-attr]


def test_decimal_commas_in_quotes_between_commas(tmp_path: Path) -> None:
    dataset = csv_file(write(tmp_path, 'a,y\n"1,5","0,5"\n"2,25",3\n'), target="y")
    assert inputs_of(dataset).tolist() == [[1.5], [2.25]]
    assert dataset.train.targets.tolist() == [[0.5], [3]]  # type: ignore[union-attr]


def test_points_and_commas_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3, column 'a': '2,5' is not a number(?s:.)*decimal comma"):
        csv_file(write(tmp_path, "a;y\n1.5;1\n2,5;2\n"), target="y")
    with pytest.raises(DataError, match=r"line 3, column 'a': '2.5' is not a number"):
        csv_file(write(tmp_path, "a;y\n1,5;1\n2.5;2\n"), target="y", decimal=",")


def test_a_column_of_texts_suggests_the_texts_dataset(tmp_path: Path) -> None:
    path = write(tmp_path, "said,y\na very good film,1\na bad one,0\n")
    with pytest.raises(DataError, match=rf"--dataset texts --dataset.path {path.name} --dataset.text said"):
        csv_file(path, target="y")


def test_prediction_files_are_read_with_the_decimal_comma_of_training(tmp_path: Path) -> None:
    dataset = csv_file(write(tmp_path, "a;y\n1,5;0,5\n2,25;3\n"), target="y")
    assert restored_reader(dataset).read(write(tmp_path, "a;b\n5,125;1\n", "one.csv")).tolist() == [[5.125]]  # type: ignore[union-attr]
    assert restored_reader(dataset).read(write(tmp_path, "a\n1.5\n", "point.csv")).tolist() == [[1.5]]  # type: ignore[union-attr]


def test_mixed_delimiters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: 1 fields, but the first line names 2(?s:.)*the delimiter is ';'"):
        csv_file(write(tmp_path, "a;y\n1;2\n3,4\n"), target="y")


@pytest.mark.parametrize(
    ("text", "format", "seconds"),
    [
        ("1970-01-02", "ymd", 86400),
        ("1970/1/2", "ymd", 86400),
        ("2.1.1970", "dmy", 86400),
        ("1/2/1970", "mdy", 86400),
        ("1970-01-01 00:01:02.5", "ymd", 62.5),
        ("1970-01-01T01:00+01:00", "ymd", 0),
        ("1970-01-01T00:00:00Z", "ymd", 0),
        ("2 Jan 1970", "%d %b %Y", 86400),
        ("1969-12-31 23:59", "ymd", -60),
        ("2023-02-29", "ymd", None),
        ("2023-13-01", "ymd", None),
        ("2023-01-01 24:00", "ymd", None),
        ("2023-01-01 10:60", "ymd", None),
        ("2023-01/01", "ymd", None),
        ("31.12.2024", "mdy", None),
        ("tomorrow", "ymd", None),
        ("", "ymd", None),
    ],
)
def test_dates_are_read(text: str, format: str, seconds: float | None) -> None:
    assert parsed(text, format) == seconds


def test_dates_become_numbers() -> None:
    seconds = np.array([parsed(text, "ymd") for text in ("2024-12-31 18:30", "1969-12-31", "2023-07-02 12:00")])
    parts = Dates("ymd", ("parts", "age"), 0.0, has_time=True)
    assert parts.names("d") == [f"d.{one}" for one in ("year", "month", "day", "weekday", "hour", "minute", "age")]
    assert parts.numbers(seconds)[0].tolist() == [2024, 12, 31, 1, 18, 30, 20088 + 18.5 / 24]
    assert parts.numbers(seconds)[1].tolist() == [1969, 12, 31, 2, 0, 0, -1]
    cyclic = Dates("ymd", ("cyclic",), 0.0, has_time=True)
    assert cyclic.names("d")[:2] == ["d.sin_of_year", "d.cos_of_year"]
    middle = cyclic.numbers(seconds)[2]  # fraction of the year: day 183 of 365, at noon
    assert middle[:2] == pytest.approx([0, -1], abs=1e-12)
    assert middle[4:] == pytest.approx([0, -1], abs=1e-12)
    assert np.isnan(cyclic.numbers(np.array([np.nan]))).all()


DATED = "sold,x,y\n2024-03-01,1,0.5\n2024-03-05,2,1.5\n,3,2.5\n"


def test_a_column_of_dates(tmp_path: Path) -> None:
    path = write(tmp_path, DATED)
    with pytest.raises(DataError, match=r"column 'sold': '2024-03-01' is not a number(?s:.)*--dataset.date '\[\"sold"):
        csv_file(path, target="y")
    with pytest.raises(DataError, match="line 4, column 'sold': the value is missing"):
        csv_file(path, target="y", date="sold")
    dataset = csv_file(path, target="y", date="sold", date_features=("age",), missing="fill")
    assert list(dataset.feature_names) == ["sold.age", "x"]
    assert inputs_of(dataset).nan_to_num(-1).tolist() == [[0, 1], [4, 2], [-1, 3]]
    new = write(tmp_path, "x,sold\n7,2024-03-11\n", "new.csv")
    assert restored_reader(dataset).read(new).tolist() == [[10, 7]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["2024-01-31", "2024-02-30"], r"line 3, column 'd': '2024-02-30' is no date(?s:.)*year, month, day"),
        (["2024-01-31", "31.01.2024"], r"line 3, column 'd': '31.01.2024' is no date"),
        (["03/04/2024", "05/06/2024"], r"column 'd': '03/04/2024' may begin with the day or the month"),
        (["soon", "later"], r"line 2, column 'd': 'soon' is no date"),
        (["", ""], r"column 'd' has no date(?s:.)*--dataset.ignore"),
    ],
)
def test_invalid_dates_are_refused(tmp_path: Path, cells: list[str], message: str) -> None:
    path = write(tmp_path, "d,y\n" + "".join(f"{cell},{row}.5\n" for row, cell in enumerate(cells)))
    with pytest.raises(DataError, match=message):
        csv_file(path, target="y", date="d")


def test_the_order_of_day_and_month_is_inferred_or_given(tmp_path: Path) -> None:
    def first(cells: list[str], **options: Any) -> list[float]:
        path = write(tmp_path, "d,y\n" + "".join(f"{cell},{row}.5\n" for row, cell in enumerate(cells)))
        return inputs_of(csv_file(path, target="y", date="d", date_features=("parts",), **options))[0].tolist()

    assert first(["03/04/2024", "03/14/2024"])[:3] == [2024, 3, 4]
    assert first(["03/04/2024", "14/03/2024"])[:3] == [2024, 4, 3]
    assert first(["03.04.2024", "05.06.2024"])[:3] == [2024, 4, 3]
    assert first(["03/04/2024", "05/06/2024"], date_format="mdy")[:3] == [2024, 3, 4]
    assert first(["Mar 4 24", "May 6 24"], date_format="%b %d %y")[:3] == [2024, 3, 4]
    with pytest.raises(UsageError, match=r"date_format is 'iso'(?s:.)*ymd"):
        first(["2024-01-01"], date_format="iso")
    with pytest.raises(UsageError, match="unknown feature of dates 'cyclical'"):
        csv_file(tmp_path / "data.csv", target="y", date="d", date_features=("cyclical",))  # type: ignore[arg-type]


def test_an_invalid_date_in_a_prediction_file_is_refused(tmp_path: Path) -> None:
    reader = restored_reader(csv_file(write(tmp_path, DATED), target="y", date="sold", missing="fill"))
    with pytest.raises(DataError, match=r"new.csv, line 3, column 'sold': 'soon' is no date"):
        reader.read(write(tmp_path, "sold,x\n2024-01-01,1\nsoon,2\n", "new.csv"))


HOUSES = "street,city,rooms,price\n" + "".join(
    f"{('paved', 'gravel', '')[row % 3]},{'NaN' if row == 7 else f'c{row % 25}'},{row % 5 or ''},{row}.5\n"
    for row in range(60)
)


def test_missing_categories_become_a_category_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path, HOUSES)
    with pytest.raises(DataError, match=r"missing in all(?s:.)*--dataset.missing fill"):
        csv_file(path, target="price", categorical=("street", "city"), missing="mean")
    dataset = csv_file(path, target="price", categorical="street", ignore="city", missing="fill")
    assert list(dataset.feature_names) == ["street=(missing)", "street=gravel", "street=paved", "rooms"]
    assert inputs_of(dataset)[:3, :3].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    found = restored_reader(dataset).read(write(tmp_path, "street,rooms\nNaN,\n", "new.csv"))
    assert found.nan_to_num(-1).tolist() == [[1, 0, 0, -1]]  # type: ignore[union-attr]


def test_embedded_categories_are_separate_integer_inputs(tmp_path: Path) -> None:
    path = write(tmp_path, HOUSES)
    dataset = csv_file(path, target="price", categorical=("street", "city"), embed="auto", missing="fill")
    assert list(dataset.feature_names) == ["street=(missing)", "street=gravel", "street=paved", "rooms"]
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in inputs_of(dataset).items()} == {
        "numbers": ((60, 4), torch.float32),
        "categories": ((60, 1), torch.int64),
    }
    assert dataset.facts == {"numbers": dataset.feature_names, "categories": {"city": 27}}
    assert torch.equal(restored_reader(dataset).read(path)["categories"], inputs_of(dataset)["categories"])  # type: ignore[index,call-overload]
    alone = csv_file(path, target="price", embed=("street", "city"), ignore="rooms", missing="fill")
    assert list(inputs_of(alone)) == ["categories"]


def test_unseen_categories_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, HOUSES)
    dataset = csv_file(path, target="price", categorical="street", embed="city", missing="fill")
    new = "city,street,rooms\nc1,mud,1\nOslo,paved,2\nBern,sand,3\nc2,mud,3\n"
    found: Any = restored_reader(dataset).read(write(tmp_path, new, "new.csv"))
    assert found["categories"].flatten().tolist()[1:3] == [0, 0]
    assert found["numbers"][:, :3].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert "3 of 4 in 'street': 'mud', 'sand'" in caplog.text
    assert "2 of 4 in 'city': 'Oslo', 'Bern'" in caplog.text
    strict = csv_file(path, target="price", categorical=("street", "city"), missing="fill", unseen="error")
    with pytest.raises(DataError, match=r"line 2, column 'street': unknown category 'mud'(?s:.)*\(missing\), gravel"):
        restored_reader(strict).read(tmp_path / "new.csv")


def test_new_missing_and_renamed_columns_in_a_prediction_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = csv_file(write(tmp_path, "area,rooms,note,y\n1,2,a,0.5\n3,4,b,1.5\n"), target="y", ignore="note")
    reader = restored_reader(dataset)
    reader.read(write(tmp_path, "rooms,area,y,note\n1,2,3,4\n", "same.csv"))
    assert caplog.text == ""
    reader.read(write(tmp_path, "rooms,area,bath,garden\n1,2,3,4\n", "new.csv"))
    assert "training had no column 'bath', 'garden'; it is left out" in caplog.text
    with pytest.raises(DataError, match=r"there is no column 'rooms'(?s:.)*did you mean 'room'"):
        reader.read(write(tmp_path, "area,room\n1,2\n", "renamed.csv"))


def test_an_empty_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,y\n1,,0.5\n2,NA,1.5\n")
    for missing in ("error", "mean", "fill"):
        with pytest.raises(DataError, match=r"b has no values; leave it out: --dataset.ignore '\[\"b\"\]'"):
            csv_file(path, target="y", missing=missing)


def test_column_types_are_inferred_from_their_cells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "day;colour;size;none;y\n1.2.2024;red;1,5;;0,5\n13.2.2024;blue;2;;1,5\n"
    with caplog.at_level(logging.INFO):
        dataset = csv_file(write(tmp_path, text), target="y", infer=True, date_features=("age",))
    assert list(dataset.feature_names) == ["day.age", "colour=blue", "colour=red", "size"]
    assert inputs_of(dataset).tolist() == [[0, 0, 1, 1.5], [12, 1, 0, 2]]
    for words in ("dates: day", "categories: colour", "left out, as they are empty: none"):
        assert words in caplog.text


@pytest.mark.parametrize(
    "cells", [("1.200,5", "2.300,75"), ("1,234", "12,5"), ("1,234", "2,345"), ("$5", "$7"), ("5", "6 kg")]
)
@pytest.mark.parametrize("infer", [False, True])
def test_numbers_in_another_notation_are_not_taken_as_categories(
    tmp_path: Path, cells: tuple[str, str], infer: bool
) -> None:
    path = write(tmp_path, f"size;other;y\n{cells[0]};0.5;1\n{cells[1]};1.5;2\n")
    with pytest.raises(DataError, match=r"column 'size': '.*' is not a number\n  it looks like a") as caught:
        csv_file(path, target="y", infer=infer)
    assert "--dataset.infer" not in str(caught.value)
    assert list(csv_file(path, target="y", categorical="size").feature_names)[-1] == "other"


def test_the_suggestions_for_date_columns_work(tmp_path: Path) -> None:
    path = write(tmp_path, "day,word,x,y\n2022-01-03,a,1,0.5\n2022-01-05,b,2,1.5\n")
    with pytest.raises(DataError) as caught:
        csv_file(path, target="y")
    message = str(caught.value)
    assert "'2022-01-03' in column 'day' looks like a date\n" in message
    assert "days since" not in message
    for advice in ("--dataset.date '[\"day\"]'", "--dataset.categorical '[\"word\"]'", "--dataset.infer true"):
        assert advice in message
    assert csv_file(path, target="y", date="day", categorical="word").feature_names is not None
    assert csv_file(path, target="y", infer=True).feature_names is not None
    path = write(tmp_path, "day,y\n3 Jan 2022,0.5\n5 Jan 2022,1.5\n")
    for infer in (False, True):
        with pytest.raises(
            DataError, match=r"--dataset.date '\[\"day\"\]'\n  and give .*--dataset.date_format"
        ) as caught:
            csv_file(path, target="y", infer=infer)
        assert "--dataset.infer" not in str(caught.value)
    dataset = csv_file(path, target="y", date="day", date_format="%d %b %Y", date_features=("age",))
    assert inputs_of(dataset).tolist() == [[0], [2]]


def test_contradicting_roles(tmp_path: Path) -> None:
    path = write(tmp_path, HOUSES)
    for options in ({"date": "price"}, {"ignore": "city", "date": "city"}, {"ignore": "city", "embed": "city"}):
        with pytest.raises(UsageError, match=r"column '\w+' is both"):
            csv_file(path, target="price", **options)
    for options in ({"date": "price"}, {"embed": "city", "date": "city"}, {"categorical": "city", "date": "city"}):
        with pytest.raises(UsageError, match=r"column '\w+' is both"):
            csv_file(path, target="price", **options)
    with pytest.raises(DataError, match=r"unknown column 'cty'(?s:.)*--dataset.embed"):
        csv_file(path, target="price", embed="cty")


def test_a_run_reads_rows_without_its_training_file(tmp_path: Path) -> None:
    rows = "".join(
        f"{1 + row % 28}.{1 + row % 12}.2024;{row % 7},{row % 10};{('a', 'b', '')[row % 3]};t{row % 23};{row},5\n"
        for row in range(60)
    )
    path = write(tmp_path, "day;x;kind;town;y\n" + rows)
    options = {"date": "day", "categorical": ["kind"], "embed": ["town"], "missing": "fill"}
    ran = wf.run(
        dataset={"use": "csv", "path": str(path), "target": "y", **options},
        model={"use": "tabular", "hidden": [8]},
        epochs=1,
        split="100/0",
        shuffle=False,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert data["facts"]["categories"] == {"town": 24}
    moved = path.rename(tmp_path / "moved.csv")
    trained = open_run(tmp_path / "run")
    assert torch.equal(trained.predict(trained.read(moved)), ran.predict("train"))
    model = wf.load_model(tmp_path / "run")
    assert torch.equal(model(trained.read(moved)), ran.predict("train"))
