from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wf.errors import DataError
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
        ({"x": X, "y": np.zeros(6, dtype=np.int64)}, "one class only"),
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


def test_nothing_is_unpickled(tmp_path: Path) -> None:
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
