"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_datasets.images.idx import read_idx
from wf_datasets.images.image_reader import PixelReader
from wf_datasets.public_files import Places, places

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""The folder of Debian's package dataset-fashion-mnist."""


def mnist(data_dir: Path, root: Path | None = None, download: bool = True) -> Dataset:
    """Handwritten digits: 60,000 images of 28x28 pixels and 10,000 for testing, 10 classes.

    Args:
        data_dir: The folder that is searched after `root`, and the default download folder.
        root: A folder with the four IDX files (``.gz`` or unpacked), or with torchvision's ``MNIST/raw``.
        download: Whether to download the files if they are not found.

    Returns:
        Inputs uint8 ``[60000, 1, 28, 28]``, targets ``class_index``; the test split is given.

    Raises:
        DataError: If the files are not found or damaged.
    """
    where = places("MNIST", root, data_dir, inside=("MNIST/raw", "mnist"))
    return _load(where, "MNIST", DIGITS, download)


def fashion_mnist(data_dir: Path, root: Path | None = None, download: bool = True) -> Dataset:
    """Pieces of clothing: 60,000 images of 28x28 pixels and 10,000 for testing, 10 classes.

    Args:
        data_dir: The folder that is searched after `root`, and the default download folder.
        root: A folder with the four IDX files (``.gz`` or unpacked), or with torchvision's ``FashionMNIST/raw``.
        download: Whether to download the files if they are not found, not even in the folder of Debian's package.

    Returns:
        Inputs uint8 ``[60000, 1, 28, 28]``, targets ``class_index``; the test split is given.

    Raises:
        DataError: If the files are not found or damaged.
    """
    where = places(
        "Fashion-MNIST",
        root,
        data_dir,
        inside=("FashionMNIST/raw", "fashion-mnist"),
        system=(DEBIAN,),
        advice=("on Debian and Ubuntu: apt-get install dataset-fashion-mnist",),
    )
    return _load(where, "FashionMNIST", CLOTHES, download)


def _load(where: Places, class_name: str, class_names: Sequence[str], download: bool) -> Dataset:
    files = where.find(FILES)
    if files is None and download:
        where.fetch(lambda folder: _download(class_name, folder))
        files = where.find(FILES)
    if files is None:
        raise where.error("and downloading is off" if not download else "after the download either")
    train = _samples(files[0], files[1], len(class_names))
    test = _samples(files[2], files[3], len(class_names))
    reader = PixelReader((28, 28), 1)
    return Dataset(train=train, test=test, targets="class_index", class_names=class_names, reader=reader)


def _download(class_name: str, folder: Path) -> None:
    from torchvision import datasets  # over a second, and only on the way to a download

    getattr(datasets, class_name)(folder, download=True)


def _samples(images_file: Path, labels_file: Path, num_classes: int) -> TensorSamples:
    images, labels = read_idx(images_file), read_idx(labels_file)
    _check(images_file, images, 3)
    _check(labels_file, labels, 1)
    if len(images) != len(labels):
        raise DataError(f"{images_file} holds {len(images)} images, but {labels_file} {len(labels)} labels")
    if len(labels) and int(labels.max()) >= num_classes:
        raise DataError(f"{labels_file} holds the label {int(labels.max())}; they go from 0 to {num_classes - 1}")
    return TensorSamples(images.unsqueeze(1), labels.long())


def _check(file: Path, data: Tensor, num_axes: int) -> None:
    if data.ndim != num_axes:
        raise DataError(f"{file} holds an array of {data.ndim} axes, not {num_axes}; is it another file's content?")
