"""CIFAR-10."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_datasets.images.image_reader import PixelReader
from wf_datasets.public_files import places

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{index}" for index in range(1, 6))
TEST = "test_batch"
PYTHON = (*TRAIN, TEST)
BINARY = tuple(f"{name}.bin" for name in PYTHON)
NUM_PIXELS = 3 * 32 * 32
NUM_IMAGES = 10_000
"""The number of images in each file."""


def cifar10(data_dir: Path, root: Path | None = None, download: bool = True) -> Dataset:
    """Colour images of 32x32 pixels: 50,000 and 10,000 for testing, 10 classes.

    Reads the binary version, or the Python version through an unpickler that builds arrays and plain values only.

    Args:
        data_dir: The folder that is searched after `root`, and the default download folder.
        root: A folder with ``cifar-10-batches-bin``, ``cifar-10-batches-py`` or the files themselves.
        download: Whether to download the files if they are not found.

    Returns:
        Inputs uint8 ``[50000, 3, 32, 32]``, targets ``class_index``; the test split is given.

    Raises:
        DataError: If the files are not found or damaged.
    """
    where = places("CIFAR-10", root, data_dir, inside=("cifar-10-batches-bin", "cifar-10-batches-py"))
    files = where.find(BINARY, PYTHON)
    if files is None and download:
        where.fetch(_download)
        files = where.find(BINARY, PYTHON)
    if files is None:
        raise where.error("and downloading is off" if not download else "after the download either")
    read = read_binary if files[0].suffix == ".bin" else read_pickle
    return Dataset(
        train=_samples(files[:-1], read),
        test=_samples(files[-1:], read),
        targets="class_index",
        class_names=CLASSES,
        reader=PixelReader((32, 32), 3),
    )


def read_binary(file: Path) -> tuple[Tensor, Tensor]:
    """Images uint8 ``[N, 3072]`` and labels of one file: records of a label byte and 3,072 pixels.

    Raises:
        DataError: When it does not consist of whole records.
    """
    data = torch.frombuffer(bytearray(file.read_bytes() or b"\0"), dtype=torch.uint8)
    if len(data) % (NUM_PIXELS + 1):
        raise DataError(f"{file} is cut off or damaged: {len(data):,} bytes are not records of {NUM_PIXELS + 1:,}")
    records = data.reshape(-1, NUM_PIXELS + 1)
    return records[:, 1:], records[:, 0]


def read_pickle(file: Path) -> tuple[Tensor, Tensor]:
    """Images uint8 ``[N, 3072]`` and labels of one file of the Python version.

    Raises:
        DataError: When it is damaged or holds anything but arrays and plain values.
    """
    try:
        with file.open("rb") as stream:
            content = _Unpickler(stream, encoding="latin1").load()
        images = torch.from_numpy(np.array(content["data"], dtype=np.uint8))
        return images.reshape(-1, NUM_PIXELS), torch.tensor(content["labels"])
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{file} cannot be read: {error}\n  it is damaged; delete it and get it again") from error


class _Unpickler(pickle.Unpickler):
    """Builds arrays, bytes and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function that a pickle names, if it is harmless."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data file needs")


def _encode(text: str, _: str = "latin1") -> bytes:
    """How Python 3 writes bytes into a pickle of protocol 2."""
    return text.encode("latin1")


_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,  # written before NumPy 2
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("_codecs", "encode"): _encode,
}


def _samples(files: Iterable[Path], read: Callable[[Path], tuple[Tensor, Tensor]]) -> TensorSamples:
    parts = [_checked(file, *read(file)) for file in files]
    images = torch.cat([images for images, _ in parts]).reshape(-1, 3, 32, 32)
    return TensorSamples(images, torch.cat([labels for _, labels in parts]).long())


def _checked(file: Path, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if not len(images) == len(labels) == NUM_IMAGES:
        raise DataError(
            f"{file} is cut off or damaged: {len(images):,} images, {len(labels):,} labels, not {NUM_IMAGES:,}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(CLASSES):
        raise DataError(f"{file} is damaged: its labels go from {int(labels.min())} to {int(labels.max())}, not 0 to 9")
    return images, labels


def _download(folder: Path) -> None:
    """The archive that torchvision knows, with its checksum; its dataset class would unpickle it without limits."""
    from torchvision.datasets import CIFAR10, utils  # over a second, and only on the way to a download

    utils.download_and_extract_archive(CIFAR10.url, str(folder), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)
