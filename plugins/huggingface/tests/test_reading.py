"""Files, folders, splits and the hub."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from wf.errors import DataError, UsageError
from wf_base import Dataset, Stream
from wf_huggingface.dataset import huggingface
from wf_huggingface.reader import FileReader

ROWS = 40
pytestmark = pytest.mark.filterwarnings(
    # the library leaves the closing of a CSV file that was not read to its end to the garbage collector
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, ROWS)).astype(np.float32)
    return pd.DataFrame(
        {
            "a": a,
            "b": b,
            "label": np.where(a > 0, "yes", "no"),
            "price": 2 * a + b,
            "tall": (a > 0).astype(int),
            "wide": b > 0,
            "text": np.where(a > 0, "Good day, sir!", "bad night"),
        }
    )


def write(file: Path) -> Path:
    frame = table()
    match file.suffix:
        case ".parquet":
            frame.to_parquet(file)
        case ".csv":
            frame.to_csv(file, index=False)
        case ".tsv":
            frame.to_csv(file, index=False, sep="\t")
        case ".jsonl":
            frame.to_json(file, orient="records", lines=True)
        case ".json":
            file.write_text(json.dumps(frame.to_dict(orient="records")))
    return file


def images(folder: Path, size: tuple[int, int] = (6, 5)) -> Path:
    generator = np.random.default_rng(0)
    for split, num in (("train", 12), ("test", 4)):
        for label, level in (("dark", 20), ("light", 200)):
            (folder / split / label).mkdir(parents=True)
            for number in range(num):
                pixels = (generator.integers(0, 40, (*size, 3)) + level).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


def inputs_of(dataset: Dataset) -> Any:
    return dataset.train.inputs  # type: ignore[attr-defined]  # they are in memory


def targets_of(dataset: Dataset) -> Any:
    return dataset.train.targets  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".json", ".jsonl"])
def test_every_file_format_is_read(tmp_path: Path, ending: str) -> None:
    dataset = huggingface(write(tmp_path / f"data{ending}"), inputs=["a", "b"])
    frame = table()
    assert inputs_of(dataset).dtype == torch.float32
    torch.testing.assert_close(inputs_of(dataset), torch.tensor(frame[["a", "b"]].to_numpy()), rtol=1e-6, atol=1e-6)
    assert (dataset.targets, list(dataset.class_names), dataset.feature_names) == (
        "class_index",
        ["no", "yes"],
        ("a", "b"),
    )
    assert targets_of(dataset).tolist() == [int(label == "yes") for label in frame["label"]]
    assert (dataset.validation, dataset.test) == (None, None)


@pytest.mark.parametrize(
    ("target", "task", "kind"),
    [
        ("price", "auto", "real"),
        ("tall", "auto", "class_index"),
        ("tall", "binary", "binary"),
        ("wide", "binary", "binary"),
        ("tall", "regression", "real"),
        (["tall", "wide"], "auto", "multilabel"),
        (["price", "a"], "auto", "real"),
        (["tall"], "multilabel", "multilabel"),
    ],
)
def test_targets_by_column_and_task(tmp_path: Path, target: Any, task: Any, kind: str) -> None:
    dataset = huggingface(write(tmp_path / "data.parquet"), inputs="b", target=target, task=task)
    frame, names = table(), [target] if isinstance(target, str) else target
    assert dataset.targets == kind
    wanted = torch.tensor(frame[names].to_numpy(dtype=np.float32).copy())
    assert torch.equal(targets_of(dataset).reshape(wanted.shape).float(), wanted)


def test_text_columns_become_tokens(tmp_path: Path) -> None:
    dataset = huggingface(write(tmp_path / "data.parquet"), inputs="text", max_tokens=4)
    assert inputs_of(dataset).shape == (ROWS, 4)
    read = {tuple(dataset.vocabulary[place] for place in row if place) for row in inputs_of(dataset).tolist()}
    assert read == {("good", "day", ",", "sir"), ("bad", "night")}


def test_the_vocabulary_comes_from_the_train_split(tmp_path: Path) -> None:
    table().head(20).to_json(tmp_path / "train.jsonl", orient="records", lines=True)
    table().tail(20).assign(text="entirely new").to_json(tmp_path / "test.jsonl", orient="records", lines=True)
    dataset = huggingface(tmp_path, inputs="text")
    assert "new" not in dataset.vocabulary
    assert dataset.test is not None
    assert [len(dataset.train), len(dataset.test)] == [20, 20]
    assert torch.equal(dataset.test[0][0][:2], torch.tensor([1, 1]))


def test_lists_and_label_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "series": datasets.List(datasets.List(datasets.Value("float32"))),
            "kinds": datasets.List(datasets.ClassLabel(names=["x", "y", "z"])),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {"series": [[[1, 2], [3, 4], [5, 6]]] * 3, "kinds": [[0, 2], [], [1]], "label": [1, 0, 1]}
    saved = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": saved, "dev": saved}).save_to_disk(str(tmp_path / "saved"))
    dataset = huggingface(tmp_path / "saved", inputs="series", target="kinds")
    assert inputs_of(dataset).tolist() == rows["series"]
    assert (dataset.targets, list(dataset.class_names)) == ("multilabel", ["x", "y", "z"])
    assert targets_of(dataset).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert dataset.validation is not None
    labelled = huggingface(tmp_path / "saved", inputs="series")
    assert (list(labelled.class_names), targets_of(labelled).tolist()) == (["cat", "dog"], [1, 0, 1])


def test_images(tmp_path: Path) -> None:
    dataset = huggingface(images(tmp_path / "photos"))
    assert (list(dataset.class_names), len(dataset.train)) == (["dark", "light"], 24)
    assert dataset.test is not None
    for image, target in (dataset.train[0], dataset.test[7]):
        assert (image.shape, image.dtype) == ((3, 6, 5), torch.float32)
        assert (image.mean() > 0.5) == bool(target)
    first = np.array(Image.open(tmp_path / "photos" / "train" / "dark" / "0.png"))
    assert torch.equal(dataset.train[0][0], torch.from_numpy(first).permute(2, 0, 1).float() / 255)
    grey = huggingface(tmp_path / "photos", image_size=(4, 7), channels=1)
    assert grey.train[0][0].shape == (1, 4, 7)


def test_images_of_several_sizes(tmp_path: Path) -> None:
    images(tmp_path / "photos")
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "train" / "dark" / "0.png")
    with pytest.raises(UsageError, match=r"--dataset\.image_size 64"):
        huggingface(tmp_path / "photos")
    assert huggingface(tmp_path / "photos", image_size=8).train[0][0].shape == (3, 8, 8)


def test_splits_by_name(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_pandas(table()[["a", "label"]])
    folder = tmp_path / "saved"
    datasets.DatasetDict({"first": saved, "second": saved}).save_to_disk(str(folder))
    with pytest.raises(UsageError, match=r"no split 'train'\n  available: first, second"):
        huggingface(folder)
    dataset = huggingface(folder, train="first", test="second")
    assert dataset.test is not None
    with pytest.raises(UsageError, match="did you mean 'first'"):
        huggingface(folder, train="firts")
    with pytest.raises(UsageError, match=r"'first' of .* is used twice"):
        huggingface(folder, train="first", test="first")


def test_a_skipped_split_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = datasets.Dataset.from_pandas(table()[["a", "label"]])
    datasets.DatasetDict({"train": saved, "unsupervised": saved}).save_to_disk(str(tmp_path / "saved"))
    huggingface(tmp_path / "saved")
    assert "passed over: unsupervised" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "aa"}, "unknown column 'aa'"),
        ({"inputs": "[a,b]"}, "several columns are a list of texts"),
        ({}, "'text' is not numeric"),
        ({"inputs": "a", "target": "a"}, "'a' is both input and target"),
        ({"target": "price", "inputs": ["a", "text"]}, "'text' is not numeric"),
        ({"inputs": "a", "target": "text", "task": "regression"}, "cannot be the target of a regression"),
        ({"inputs": "a", "target": ["label", "tall"]}, "cannot be the target of a regression"),
        ({"shuffle_buffer": 0}, "must be at least 1"),
        ({"max_tokens": 0}, "must be at least 3 and 1"),
    ],
)
def test_invalid_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        huggingface(write(tmp_path / "data.parquet"), **options)


def test_an_undetectable_target_must_be_named(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    table().drop(columns="label").to_parquet(file)
    with pytest.raises(UsageError, match=r"which column is the target\?\n  columns: a \(float32\), .*text"):
        huggingface(file)


@pytest.mark.parametrize("column", ["a", "label", "text"])
def test_missing_values(tmp_path: Path, column: str) -> None:
    frame = table().astype({column: object})
    frame.loc[[5, 7], column] = None
    frame.to_parquet(tmp_path / "data.parquet")
    inputs = "b" if column == "label" else column
    with pytest.raises(DataError, match=f"train split, column '{column}': 2 values are missing, first in row 5"):
        huggingface(tmp_path / "data.parquet", inputs=inputs)


def test_lists_of_several_lengths(tmp_path: Path) -> None:
    pd.DataFrame({"x": [[1.0], [1.0, 2.0]], "y": [0, 1]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match="lists differ in length"):
        huggingface(tmp_path / "data.parquet")


def test_a_test_class_missing_in_train_is_refused(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "train.csv", index=False)
    table().assign(label="maybe").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match="test split, column 'label': class 'maybe' does not occur"):
        huggingface(tmp_path, inputs="a")


def test_binary_targets_other_than_0_and_1_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'price', row 0 .* is neither 0 nor 1"):
        huggingface(write(tmp_path / "data.parquet"), inputs="a", target="price", task="binary")


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"PAR1 is what it begins with")
    with pytest.raises(DataError, match=r"data.parquet' cannot be read"):
        huggingface(tmp_path / "data.parquet")
    (tmp_path / "data.docx").write_bytes(b"")
    with pytest.raises(DataError, match=r"known endings: \.parquet, \.csv"):
        huggingface(tmp_path / "data.docx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty' cannot be read"):
        huggingface(tmp_path / "empty")
    with pytest.raises(DataError, match="no file or folder"):
        huggingface(tmp_path / "gone.parquet")


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_the_hub_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        huggingface(Path(name))
    text = str(error.value)
    assert text.startswith(f"dataset '{name}' was not found: ")
    for part in ("looked in:", str(tmp_path / name), str(tmp_path / "cache"), "hub", "save_to_disk"):
        assert part in text
    assert "searching the Hugging Face hub" in capsys.readouterr().err


def test_a_shuffled_stream_loses_samples_when_it_goes_on() -> None:
    """The reason why wf shuffles a stream itself instead of using the library: once this fails, reconsider."""

    def stream() -> Any:
        rows = datasets.Dataset.from_dict({"row": list(range(40))})
        return rows.to_iterable_dataset(num_shards=4).shuffle(seed=1, buffer_size=10)

    whole, cut = stream(), stream()
    order, rows = [one["row"] for one in whole], iter(cut)
    assert [next(rows)["row"] for _ in range(13)] == order[:13]
    again = stream()
    again.load_state_dict(cut.state_dict())
    rest = [one["row"] for one in again]
    assert rest != order[13:]
    assert len(rest) < len(order[13:])


def read_all(samples: Any, start: int = 0) -> list[torch.Tensor]:
    inputs, targets = (torch.cat(parts) for parts in zip(*samples.read(start), strict=True))
    return [inputs, targets]


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".parquet", {"inputs": ["a", "b"]}),
        (".csv", {"inputs": "text", "max_tokens": 3, "vocabulary_size": 5}),
        (".tsv", {"inputs": "b", "target": "price"}),
        (".json", {"inputs": "b", "target": "tall"}),
        (".jsonl", {"inputs": "b", "target": "tall", "task": "binary"}),
        (".csv", {"inputs": "b", "target": ["tall", "wide"]}),
    ],
)
def test_a_stream_has_the_samples_of_the_file(
    tmp_path: Path, ending: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("wf_huggingface.streaming.ROWS", 7)
    file = write(tmp_path / f"data{ending}")
    stream = huggingface(file, streaming=True, **options)
    assert "reading it once as a stream" in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    plain = huggingface(file, **options)
    for name in ("targets", "class_names", "target_names", "feature_names", "vocabulary"):
        assert getattr(stream, name) == getattr(plain, name)
    assert len(stream.train) == len(plain.train) == ROWS
    for start in (0, 9):
        for got, wanted in zip(read_all(stream.train, start), (inputs_of(plain), targets_of(plain)), strict=True):
            assert got.dtype == wanted.dtype
            assert torch.equal(got, wanted[start:])


@pytest.mark.parametrize("saved", [False, True])
def test_streams_of_splits(tmp_path: Path, saved: bool) -> None:
    parts = {"train": table().head(30), "test": table().tail(10)}
    for split, frame in parts.items():
        frame.to_csv(tmp_path / f"{split}.csv", index=False)
    place = tmp_path
    if saved:
        place = tmp_path / "saved"
        tables = {name: datasets.Dataset.from_pandas(one) for name, one in parts.items()}
        datasets.DatasetDict(tables).save_to_disk(place)
    stream = huggingface(place, inputs="a", streaming=True)
    assert stream.test is not None
    assert (len(stream.train), len(stream.test), stream.validation) == (30, 10, None)
    assert read_all(stream.test)[0].flatten().tolist() == pytest.approx(parts["test"]["a"].tolist())


def test_streams_of_images(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos")
    plain = huggingface(folder)
    saved = datasets.load_dataset(str(folder), split="train")
    saved.to_parquet(str(tmp_path / "photos.parquet"))
    for place in (folder, tmp_path / "photos.parquet"):
        stream = huggingface(place, image_size=(6, 5), streaming=True)
        assert stream.class_names == ["dark", "light"]
        inputs, targets = read_all(stream.train)
        assert inputs.dtype == torch.uint8
        for number in range(24):
            image, target = plain.train[number]
            assert torch.equal(inputs[number].float() / 255, image)
            assert targets[number] == target
    with pytest.raises(UsageError, match=r"must know their size .*--dataset\.image_size 64"):
        huggingface(folder, streaming=True)


@pytest.mark.parametrize(
    ("column", "row", "value", "options", "message"),
    [
        ("a", 33, None, {"inputs": "a"}, "train split, column 'a': 1 values are missing, first in row 33"),
        ("label", 33, None, {"inputs": "a"}, "column 'label': 1 values are missing, first in row 33"),
        ("text", 33, None, {"inputs": "text"}, "column 'text': 1 values are missing, first in row 33"),
        ("a", 33, float("inf"), {"inputs": "a"}, "not finite float32 numbers, first in row 33"),
        ("tall", 33, 2, {"inputs": "a", "target": "tall", "task": "binary"}, r"row 33 \(from 0\): 2 is neither"),
    ],
)
def test_invalid_values_in_a_stream_are_found_before_step_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, row: int, value: Any, options: Any, message: str
) -> None:
    monkeypatch.setattr("wf_huggingface.streaming.ROWS", 7)
    frame = table()
    frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    frame.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match=message):
        huggingface(tmp_path / "data.parquet", streaming=True, **options)


def test_streams_that_cannot_be_read(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "train.csv", index=False)
    table().assign(label="maybe").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match="test split, column 'label': class 'maybe' does not occur"):
        huggingface(tmp_path, inputs="a", streaming=True)
    (tmp_path / "data.parquet").write_bytes(b"PAR1 is what it begins with")
    with pytest.raises(DataError, match=r"data.parquet' cannot be read"):
        huggingface(tmp_path / "data.parquet", streaming=True)
    table().head(0).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(DataError, match="no samples"):
        huggingface(tmp_path / "none.csv", inputs="a", streaming=True)
    (tmp_path / "bad.jsonl").write_text('{"a": 1, "label": 0}\n' * 50 + '{"a": \n')
    with pytest.raises(DataError, match=r"bad.jsonl' cannot be read"):
        huggingface(tmp_path / "bad.jsonl", inputs="a", streaming=True)


def test_numbers_that_become_fractions_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """A CSV file is read in parts, and the first part determines the column types."""
    lines = ["a,price", *(f"{number},1" for number in range(25_000)), "0.5,1.5"]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"cannot be read: Float value 0\.5\d* was truncated"):
        huggingface(tmp_path / "data.csv", target="price", task="regression", streaming=True)


def test_progress_bars_are_switched_on_again(tmp_path: Path) -> None:
    assert not datasets.are_progress_bars_disabled()
    huggingface(write(tmp_path / "data.parquet"), inputs="a")
    assert not datasets.are_progress_bars_disabled()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("values", "targets", "hint"),
    [
        ([0, 1, 2] * 2, "class_index", ""),
        ([-1, 0, 1] * 2, "real", "task classification"),
        ([5, 70, 900] * 2, "real", "task classification"),
        (list(range(6)), "real", ""),
    ],
)
def test_consecutive_integers_are_taken_as_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, streaming: bool, values: list[int], targets: str, hint: str
) -> None:
    file = tmp_path / "data.csv"
    file.write_text("x,y\n" + "".join(f"{row}.5,{value}\n" for row, value in enumerate(values)))
    with caplog.at_level("WARNING"):
        dataset = huggingface(file, target="y", streaming=streaming)
    assert dataset.targets == targets
    assert hint in caplog.text
    assert bool(hint) == bool(caplog.text)
    assert huggingface(file, target="y", task="classification", streaming=streaming).targets == "class_index"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("options", [{"inputs": ["a", "b"]}, {"inputs": "text", "max_tokens": 4}])
def test_prediction_reads_rows_as_training_does(tmp_path: Path, options: dict[str, Any], streaming: bool) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"a": row / 7, "b": row, "text": f"word{row} again", "y": "uv"[row % 2]} for row in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = huggingface(file, target="y", streaming=streaming, **options)
    assert dataset.reader is not None
    reader = FileReader(**json.loads(json.dumps(dataset.reader.description())))
    train = dataset.train
    inputs = next(train.rows(train.order()))[0] if isinstance(train, Stream) else train.inputs
    assert torch.equal(reader.read(file), inputs)
    assert torch.equal(reader.from_records(rows), inputs)
    assert [one["name"] for one in reader.fields()] == list(reader.inputs)
    file.write_text('{"z": 1}\n')
    with pytest.raises(DataError, match="there is no column"):
        reader.read(file)
    with pytest.raises(DataError, match=r"there, row 4: there is no column '(a|text)'"):
        reader.from_records([rows[0], {"z": 1}], "there", 3)
    missing = dict.fromkeys(reader.inputs)
    with pytest.raises(DataError, match=r"there split, column '(a|text)': 1 values are missing, first in row 4"):
        reader.from_records([rows[0], missing], "there", 3)


def learned_of(dataset: Any) -> dict[str, Any]:
    reader = json.loads(json.dumps(dataset.reader.description()))
    return {"reader": reader, "targets": dataset.targets, "class_names": list(dataset.class_names)}


def tensors_of(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    train = dataset.train
    inputs, targets, *_ = (
        next(train.rows(train.order())) if isinstance(train, Stream) else (train.inputs, train.targets)
    )
    return inputs, targets


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_a_reloaded_file_uses_the_learned_columns_and_classes(tmp_path: Path, text: bool, streaming: bool) -> None:
    rows = [{"a": row, "b": row / 7, "text": f"word{row % 3} again", "y": [3, 1, 2][row % 3]} for row in range(9)]

    def save(name: str, rows: list[dict[str, Any]]) -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    options: dict[str, Any] = {"target": "y", "streaming": streaming, "inputs": "text" if text else ["b", "a"]}
    first = huggingface(save("first.jsonl", rows), **options)
    assert first.targets == "class_index"
    learned = learned_of(first)
    options["inputs"] = None  # the learned columns are used
    fewer = [{**row, "new": 1} for row in rows if row["y"] != 1]
    again = huggingface(save("fewer.jsonl", fewer), learned=learned, **options)
    kept = torch.tensor([row["y"] != 1 for row in rows])
    assert list(again.class_names) == ["1", "2", "3"]
    for one, other in zip(tensors_of(again), tensors_of(first), strict=True):
        assert torch.equal(one, other[kept])
    assert learned_of(again) == learned
    for name, changed, message in (
        ("wolf", [*rows, {**rows[0], "y": 7}], "class '7'"),
        ("gone", [{"y": row["y"], "z": 1} for row in rows], "there is no column"),
        ("other", [{**row, "a": "x", "text": 5} for row in rows], "holds numbers|is not numeric"),
    ):
        with pytest.raises((DataError, UsageError), match=message):
            huggingface(save(f"{name}.jsonl", changed), learned=learned, **options)


def test_labels_are_found_by_their_names(tmp_path: Path) -> None:
    names = ["cat", "dog", "cow"]
    for folder, order in (("first", names), ("again", names[::-1])):
        features = datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=order)})
        rows = {"x": [1.0, 2.0, 3.0], "label": names}
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / folder))
    first = huggingface(tmp_path / "first")
    again = huggingface(tmp_path / "again", learned=learned_of(first))
    assert (list(again.class_names), tensors_of(again)[1].tolist()) == (names, [0, 1, 2])


def test_images_of_rows_are_paths_bytes_and_what_parquet_has() -> None:
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    stream = BytesIO()
    image.save(stream, "PNG")
    reader = FileReader(["photo"], "image", image_size=(2, 3))
    rows = [{"photo": image}, {"photo": stream.getvalue()}, {"photo": {"bytes": stream.getvalue(), "path": "a.png"}}]
    found = reader.from_records(rows)
    assert found.shape == (3, 3, 2, 3)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert reader.fields() == [{"name": "photo", "type": "image", "channels": 3, "size": [2, 3]}]
    with pytest.raises(DataError, match="image 'rows, row 1' cannot be read: cannot identify"):
        reader.from_records([{"photo": {"bytes": b"none", "path": None}}])


def test_large_numbers_are_kept_in_float64(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"time": 1_700_000_000 + row, "b": row, "y": row / 3} for row in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = huggingface(file, target="y")
    inputs, targets = tensors_of(dataset)
    assert (inputs.dtype, targets.dtype) == (torch.float64, torch.float32)
    assert len(inputs[:, 0].unique()) == 40
    assert dataset.reader is not None
    assert torch.equal(dataset.reader.read(file), inputs)
    assert caplog.text == ""
    assert tensors_of(huggingface(file, target="y", streaming=True))[0].dtype == torch.float32
    assert "float32, which a stream uses" in caplog.text
