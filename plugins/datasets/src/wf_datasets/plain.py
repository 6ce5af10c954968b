"""The datasets in plain Python and PyTorch, which `wf export --to script` writes into scripts.

A function returns inputs and targets, or a dict of these by split, equal to its dataset's bit for bit. Its parameters
are options of the dataset and facts that the run learned from the data.
"""

from __future__ import annotations

import csv
import gzip
import struct
from pathlib import Path

import torch
from sklearn import datasets
from torch import Tensor


def line(
    weight: float = 0.7, bias: float = 0.3, start: float = 0.0, end: float = 1.0, step: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Points of the line `y = weight * x + bias`."""
    x = torch.arange(start, end, step).unsqueeze(1)
    return x, weight * x + bias


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of handwritten digits, pixels from 0 to 1, and the digits."""
    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images).to(torch.float32) / 16
    return images.unsqueeze(1), torch.from_numpy(bunch.target).to(torch.int64)


def iris() -> tuple[Tensor, Tensor]:
    """150 irises, four measurements in cm each, and their species."""
    bunch = datasets.load_iris()
    return torch.from_numpy(bunch.data).to(torch.float32), torch.from_numpy(bunch.target).to(torch.int64)


def wine() -> tuple[Tensor, Tensor]:
    """178 analyses of wines, and their growers."""
    bunch = datasets.load_wine()
    return torch.from_numpy(bunch.data).to(torch.float32), torch.from_numpy(bunch.target).to(torch.int64)


def breast_cancer() -> tuple[Tensor, Tensor]:
    """569 tumours, 30 measures each: malignant (class 0) or benign (class 1)."""
    bunch = datasets.load_breast_cancer()
    return torch.from_numpy(bunch.data).to(torch.float32), torch.from_numpy(bunch.target).to(torch.int64)


def breast_cancer_binary() -> tuple[Tensor, Tensor]:
    """569 tumours, 30 measures each: 1 for a malignant one."""
    bunch = datasets.load_breast_cancer()
    return torch.from_numpy(bunch.data).to(torch.float32), torch.from_numpy(bunch.target == 0).to(torch.float32)


def diabetes() -> tuple[Tensor, Tensor]:
    """442 diabetes patients, ten raw measures each, and the progression a year later."""
    bunch = datasets.load_diabetes(scaled=False)
    targets = torch.from_numpy(bunch.target).to(torch.float32)
    return torch.from_numpy(bunch.data).to(torch.float32), targets.unsqueeze(1)


def csv_file(
    path: str,
    target: str | list[str],
    columns: list[dict[str, object]],
    class_names: list[str] = [],  # noqa: B006 - only read
    dataset_targets: str = "real",
    delimiter: str = "auto",
    double: bool = False,
) -> tuple[Tensor, Tensor]:
    """The inputs and targets of a table; a column with values is one-hot encoded."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        if delimiter == "auto":
            delimiter = max(",;\t|", key=file.readline().count)
            file.seek(0)
        rows = [
            {str(name).strip(): cell.strip() for name, cell in row.items()}
            for row in csv.DictReader(file, delimiter=delimiter)
        ]
    inputs = []
    for row in rows:
        numbers: list[float] = []
        for column in columns:
            cell, values = row[str(column["name"])], column.get("values")
            numbers += [float(cell)] if not isinstance(values, list) else [float(cell == value) for value in values]
        inputs.append(numbers)
    if dataset_targets == "class_index":
        targets = torch.tensor([class_names.index(row[str(target)]) for row in rows])
    else:
        names = target if isinstance(target, list) else [target]
        targets = torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float32)
    return torch.tensor(inputs, dtype=torch.float64 if double else torch.float32), targets


def mnist(data_dir: str, root: str | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """60,000 images of handwritten digits for training and 10,000 for testing, 28 x 28 bytes each."""
    return read_mnist([root or data_dir, f"{data_dir}/mnist", f"{root or data_dir}/MNIST/raw"])


def fashion_mnist(data_dir: str, root: str | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """60,000 images of clothes for training and 10,000 for testing, 28 x 28 bytes each."""
    folders = [root or data_dir, f"{data_dir}/fashion-mnist", f"{root or data_dir}/FashionMNIST/raw"]
    return read_mnist([*folders, "/usr/share/datasets/fashion-mnist"])


def read_mnist(folders: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """The images and labels of both splits, from the first folder that has them."""
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(folders, f"{prefix}-images-idx3-ubyte")
        splits[split] = (images.unsqueeze(1), read_idx(folders, f"{prefix}-labels-idx1-ubyte").long())
    return splits


def read_idx(folders: list[str], name: str) -> Tensor:
    """The bytes of a file of the IDX format, which may be gzipped."""
    files = [Path(folder, name + ending) for folder in folders for ending in ("", ".gz")]
    file = next((one for one in files if one.is_file()), files[0])
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    start = 4 + 4 * data[3]  # two zeros, the type, the number of axes, and their sizes
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[start:].reshape(shape)
