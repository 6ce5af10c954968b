import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wf.errors import DataError
from wf_base import TensorSamples
from wf_base.data import split_dataset
from wf_data.serving import RunData
from wf_datasets.array_reader import ArrayReader
from wf_datasets.npz import npz

X = np.arange(12, dtype=np.float64).reshape(6, 2)


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_floats_are_a_regression(tmp_path: Path) -> None:
    dataset = npz(save(tmp_path, x=X, y=np.linspace(0, 1, 6)))
    assert dataset.targets == "real"
    assert (dataset.train.inputs.dtype, dataset.train.inputs.shape) == (torch.float32, (6, 2))
    assert (dataset.train.targets.dtype, dataset.train.targets.shape) == (torch.float32, (6, 1))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([10, 2, 10, 2, 5, 5]), ["2", "5", "10"]),
        (np.array([[1], [0], [1], [0], [1], [0]], dtype=np.uint8), ["0", "1"]),
        (np.array([True, False] * 3), ["False", "True"]),
        (np.array(["b", "a", "c"] * 2), ["a", "b", "c"]),
    ],
)
def test_classes(tmp_path: Path, labels: Any, names: list[str]) -> None:
    dataset = npz(save(tmp_path, x=X, y=labels))
    assert (dataset.targets, list(dataset.class_names)) == ("class_index", names)
    assert dataset.train.targets.dtype == torch.int64
    decoded = [names[index] for index in dataset.train.targets.tolist()]
    assert decoded == [str(label) for label in labels.reshape(-1)]


def test_task_overrides_the_type(tmp_path: Path) -> None:
    counts = save(tmp_path, x=X, y=np.arange(6))
    dataset = npz(counts, task="regression")
    assert (dataset.targets, dataset.train.targets.dtype) == ("real", torch.float32)
    floats = save(tmp_path, x=X, y=np.array([0.0, 1.0] * 3))
    assert npz(floats, task="classification").class_names == ["0.0", "1.0"]


def test_several_columns_of_zero_and_one_are_multilabel(tmp_path: Path) -> None:
    dataset = npz(save(tmp_path, x=X, y=np.eye(6, dtype=np.int64)[:, :3]))
    assert (dataset.targets, dataset.train.targets.shape, len(dataset.class_names)) == ("multilabel", (6, 3), 3)


def test_images_stay_bytes(tmp_path: Path) -> None:
    grey = np.full((6, 4, 5), 255, dtype=np.uint8)
    inputs = npz(save(tmp_path, x=grey, y=np.array([0, 1] * 3))).train.inputs
    assert (inputs.dtype, inputs.shape) == (torch.uint8, (6, 1, 4, 5))
    table = npz(save(tmp_path, x=grey[:, :, 0], y=np.array([0, 1] * 3))).train.inputs
    assert (table.dtype, float(table.max())) == (torch.float32, 255.0)


def test_other_keys(tmp_path: Path) -> None:
    path = save(tmp_path, data=X, label=np.array([0, 1] * 3))
    assert len(npz(path, inputs="data", targets="label").train) == 6
    with pytest.raises(DataError, match=r"(?s)unknown key 'labels'.*'label'.*--dataset\.targets"):
        npz(path, inputs="data", targets="labels")
    with pytest.raises(DataError, match=r"(?s)unknown key 'x'.*available: data, label.*--dataset\.inputs"):
        npz(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": np.arange(5)}, r"must be \[6\]"),
        ({"x": X, "y": np.zeros((6, 1, 1))}, r"must be \[6\]"),
        ({"x": X[:, 0], "y": np.arange(6)}, r"inputs are \[N, \.\.\.\]"),
        ({"x": X[:0], "y": np.arange(0)}, r"inputs are \[N, \.\.\.\]"),
        ({"x": np.where(X == 3, np.nan, X), "y": np.arange(6)}, r"1 values that are not finite.*\[1, 1\]"),
        ({"x": X * 1e300, "y": np.arange(6)}, "not finite float32"),
        ({"x": X.astype(str), "y": np.arange(6)}, "not numbers"),
        ({"x": X, "y": np.full(6, np.nan)}, "not finite"),
        ({"x": X, "y": np.zeros(6, dtype=np.int64)}, "only one class"),
        ({"x": X, "y": np.arange(12).reshape(6, 2)}, r"(?s)0 and 1 only.*--dataset\.task regression"),
        ({"x": X, "y": np.zeros(6, dtype=np.complex64)}, "classes are integers"),
    ],
)
def test_bad_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        npz(save(tmp_path, **arrays))


def test_nan_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not finite"):
        npz(save(tmp_path, x=X, y=np.array([0, 1, 0, 1, 0, np.nan])), task="classification")


def test_missing_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = X.copy()
    x[1, 1] = np.nan
    path = save(tmp_path, x=x, y=np.arange(6) % 2)
    with pytest.raises(DataError, match=r"(?s)first at \[1, 1\].*--dataset.missing drop.*--dataset.missing mean"):
        npz(path)
    dropped = npz(path, missing="drop").train
    assert dropped.inputs.tolist() == np.delete(X, 1, 0).tolist()
    assert dropped.targets.tolist() == [0, 0, 1, 0, 1]
    assert "1 of 6 samples" in caplog.text
    dataset = npz(path, missing="mean")
    data = RunData(dataset, split_dataset(dataset, "100/0", 0, shuffle=False), shuffle=False)
    filled = torch.where(torch.tensor(x).isnan(), 6.6, torch.tensor(X))
    assert torch.equal(next(data.epoch(0)).inputs, filled.float())
    assert data.own_transforms[0](torch.tensor([[torch.nan, torch.nan]])).tolist() == [[5, pytest.approx(6.6)]]


def test_missing_targets(tmp_path: Path) -> None:
    y = np.array([0.5, np.nan, 0.25, 1.5, 2.5, np.nan])
    path = save(tmp_path, x=X, y=y)
    for missing in ("error", "mean"):
        with pytest.raises(DataError, match=r"(?s)'y' holds 2 values.*\[1\].*--dataset.missing drop"):
            npz(path, missing=missing)
    assert npz(path, missing="drop").train.targets.flatten().tolist() == [0.5, 0.25, 1.5, 2.5]
    with pytest.raises(DataError, match="every one of its 6 samples"):
        npz(save(tmp_path, x=np.full((6, 2), np.nan), y=y), missing="drop")
    with pytest.raises(DataError, match="not finite"):
        npz(save(tmp_path, x=np.full((6, 2), np.inf), y=np.arange(6)), missing="mean")


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        npz(save(tmp_path, x=X, y=np.array([{}] * 6, dtype=object)))


def test_bad_files(tmp_path: Path) -> None:
    good = save(tmp_path, x=X, y=np.arange(6))
    cut = tmp_path / "cut.npz"
    cut.write_bytes(good.read_bytes()[:-40])
    flipped = tmp_path / "flipped.npz"
    content = bytearray(good.read_bytes())
    content[200] ^= 255
    flipped.write_bytes(content)
    text = tmp_path / "text.npz"
    text.write_text("hello")
    empty = tmp_path / "empty.npz"
    empty.write_bytes(b"")
    for path in (cut, flipped, text, empty):
        with pytest.raises(DataError, match=f"{path.name} cannot be read"):
            npz(path)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(DataError, match=r"numpy\.savez"):
        npz(tmp_path / "one.npy")
    with pytest.raises(DataError, match=r"(?s)no file.*did you mean 'data\.npz'"):
        npz(tmp_path / "date.npz")
    with pytest.raises(DataError, match="is a folder"):
        npz(tmp_path)


@pytest.mark.parametrize(
    "inputs",
    [
        np.arange(12, dtype=np.uint8).reshape(4, 3),
        np.arange(12, dtype=">f4").reshape(4, 3),
        np.arange(24, dtype=np.uint8).reshape(4, 2, 3),
        np.arange(72, dtype=np.uint8).reshape(4, 3, 2, 3),
        np.arange(24, dtype=np.float64).reshape(4, 3, 2),
        np.asfortranarray(np.arange(12, dtype=np.int64).reshape(4, 3)),
        1_700_000_000 + np.arange(12.0).reshape(4, 3),
        np.eye(4, 3, dtype=bool),
    ],
)
def test_prediction_reads_arrays_as_training_does(tmp_path: Path, inputs: Any) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=inputs, y=np.array([0, 1, 0, 1]))
    dataset = npz(path, inputs="images")
    assert dataset.reader is not None
    reader = ArrayReader(**json.loads(json.dumps(dataset.reader.description())))
    assert isinstance(dataset.train, TensorSamples)
    expected = dataset.train.inputs
    assert torch.equal(reader.read(path), expected)
    np.savez(tmp_path / "x.npz", x=inputs)
    np.savez(tmp_path / "only.npz", something=inputs)
    np.save(tmp_path / "plain.npy", inputs)
    for name in ("x.npz", "only.npz", "plain.npy"):
        assert torch.equal(reader.read(tmp_path / name), expected)
        assert reader.read(tmp_path / name).dtype == expected.dtype
    np.save(tmp_path / "one.npy", inputs[2])
    assert torch.equal(reader.read(tmp_path / "one.npy"), expected[2:3])


ODD: dict[str, Any] = {
    "text": np.array([["a", "b", "c"]]),
    "objects": np.array([[None, 1, 2]], dtype=object),
    "records": np.zeros(3, dtype=[("a", "f4")]),
    "complex": np.zeros((2, 3), dtype=complex),
    "dates": np.zeros((2, 3), dtype="datetime64[s]"),
    "empty": np.zeros((0, 3)),
    "zero-dimensional": np.array(1.0),
    "another shape": np.zeros((2, 4)),
    "another layout": np.zeros((3, 2)),
    "flat": np.zeros(6),
    "nan": np.full((2, 3), np.nan),
    "infinite": np.full((2, 3), 1e300),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_arrays_are_refused(tmp_path: Path, name: str) -> None:
    reader = ArrayReader("x", (3,))
    np.save(tmp_path / "odd.npy", ODD[name])
    np.savez(tmp_path / "odd.npz", x=ODD[name])
    for ending in ("npy", "npz"):
        with pytest.raises(DataError, match=r"odd\.np"):
            reader.read(tmp_path / f"odd.{ending}")


@given(data=st.binary(max_size=120), head=st.integers(0, 128))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes, head: int) -> None:
    reader, stream = ArrayReader("x", (3,)), io.BytesIO()
    np.save(stream, np.zeros((1, 3)))
    (tmp_path / "odd.npy").write_bytes(stream.getvalue()[:head] + data)
    with contextlib.suppress(DataError):
        assert reader.read(tmp_path / "odd.npy").shape[1:] == (3,)


def test_an_array_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path, stream = tmp_path / "odd.npy", io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 3)})
    path.write_bytes(stream.getvalue() + b"0" * 24)
    with pytest.raises(DataError, match="cannot be read"):
        ArrayReader("x", (3,)).read(path)


def test_images_of_another_dtype_are_refused(tmp_path: Path) -> None:
    bytes_, floats = np.full((2, 4, 4), 200, np.uint8), np.full((2, 4, 4), 0.5, np.float32)
    np.save(tmp_path / "bytes.npy", bytes_)
    np.save(tmp_path / "floats.npy", floats)
    np.save(tmp_path / "large.npy", 200 * floats)
    images, numbers = ArrayReader("x", (4, 4), images=True), ArrayReader("x", (4, 4))
    assert images.read(tmp_path / "bytes.npy").shape == (2, 1, 4, 4)
    assert images.read(tmp_path / "floats.npy").shape == (2, 1, 4, 4)
    with pytest.raises(DataError, match="trained on images of uint8"):
        images.read(tmp_path / "large.npy")
    with pytest.raises(DataError, match="trained on plain numbers"):
        numbers.read(tmp_path / "bytes.npy")


def test_a_reloaded_file_uses_the_learned_classes_and_shape(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros((4, 3)), y=np.array(["b", "a", "b", "a"]))
    first = npz(path)
    assert first.reader is not None
    learned = {"reader": first.reader.description(), "targets": "class_index", "class_names": ["b", "a"]}
    again = npz(path, learned=learned)
    assert isinstance(again.train, TensorSamples)
    assert (again.class_names, again.train.targets.tolist()) == (["b", "a"], [0, 1, 0, 1])
    np.savez(path, x=np.zeros((2, 3)), y=np.array(["b", "wolf"]))
    with pytest.raises(DataError, match="at 1: unknown class 'wolf'"):
        npz(path, learned=learned)
    np.savez(path, x=np.zeros((2, 4)), y=np.array(["b", "a"]))
    with pytest.raises(DataError, match="samples of"):
        npz(path, learned=learned)


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (np.array([0.0, 1.0] * 3), "regression"),
        (np.array([0.5, 1.0] * 3), None),
        (np.array([0, 1, 2] * 2), None),
        (np.array([5, 90, 3000] * 2), "3 different integers"),
    ],
)
def test_ambiguous_targets_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, labels: Any, hint: str | None
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((6, 3)), y=labels)
    with caplog.at_level("WARNING"):
        npz(tmp_path / "data.npz")
    if hint is None:
        assert caplog.text == ""
    else:
        assert hint in caplog.text


def test_a_file_without_samples_is_named_for_a_known_reader_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "full.npz", x=X, y=np.arange(len(X)) % 2)
    np.savez(tmp_path / "empty.npz", x=X[:0], y=np.arange(0))
    found = npz(tmp_path / "full.npz")
    learned = {"reader": found.reader.description(), "targets": found.targets, "class_names": found.class_names}  # type: ignore[union-attr]  # it has one
    with pytest.raises(DataError, match=r"empty.npz: 'x' of shape \[0, "):
        npz(tmp_path / "empty.npz", learned=learned)
