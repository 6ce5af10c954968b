import pickle
import struct
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets.utils

from wf.errors import DataError
from wf_datasets.images import cifar
from wf_datasets.images.cifar import BINARY, CLASSES, PYTHON, cifar10

NUM = 20


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(cifar, "NUM_IMAGES", NUM)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", refuse)


def content(number: int) -> tuple[np.ndarray[Any, Any], list[int]]:
    pixels = np.random.default_rng(number).integers(0, 256, (NUM, 3072), dtype=np.uint8)
    return pixels, [index % 10 for index in range(NUM)]


def binary(number: int) -> bytes:
    pixels, labels = content(number)
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True))


def python2(number: int) -> bytes:
    """A pickle with the opcodes that Python 2 wrote: protocol 2, byte strings, NumPy 1 names."""
    pixels, labels = content(number)

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNN"
    dtype += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + b"K" + bytes([NUM]) + b"M\x00\x0c\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes() + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    label_item = text(b"batch_label") + text(b"training batch 1 of 5") + b"s"
    return b"\x80\x02}" + label_item + text(b"data") + array + b"s" + text(b"labels") + listed + b"s."


def python3(number: int, protocol: int) -> bytes:
    pixels, labels = content(number)
    return pickle.dumps({"data": pixels, "labels": labels}, protocol=protocol)


def save(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def check(data_dir: Path) -> None:
    dataset = cifar10(data_dir)
    assert dataset.test is not None
    x, y = dataset.train.inputs, dataset.train.targets
    assert (x.shape, x.dtype, y.dtype, dataset.targets) == (
        (5 * NUM, 3, 32, 32),
        torch.uint8,
        torch.int64,
        "class_index",
    )
    expected = np.concatenate([content(number)[0] for number in range(5)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(x.numpy(), expected)
    assert y.tolist() == content(0)[1] * 5
    assert np.array_equal(dataset.test.inputs.numpy(), content(5)[0].reshape(-1, 3, 32, 32))
    assert dataset.class_names == CLASSES


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_binary_version(tmp_path: Path, inside: str) -> None:
    save(tmp_path / inside, {name: binary(number) for number, name in enumerate(BINARY)})
    check(tmp_path)


@pytest.mark.parametrize("protocol", [None, 2, 4], ids=["python2", "2", "4"])
def test_python_version(tmp_path: Path, protocol: int | None) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    contents = {
        name: python2(number) if protocol is None else python3(number, protocol) for number, name in enumerate(PYTHON)
    }
    save(folder, contents)
    check(tmp_path)


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(url: str, root: str, filename: str, md5: str) -> None:
        assert url.endswith(filename)
        assert md5 == torchvision.datasets.CIFAR10.tgz_md5
        save(Path(root) / "cifar-10-batches-py", {name: python2(number) for number, name in enumerate(PYTHON)})

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fake)
    check(tmp_path / "data")
    assert (tmp_path / "data" / "cifar-10-batches-py").is_dir()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_other_pickled_objects_are_refused(tmp_path: Path) -> None:
    contents = {name: python2(number) for number, name in enumerate(PYTHON)}
    contents["data_batch_3"] = pickle.dumps({"data": Evil(tmp_path / "touched"), "labels": []}, protocol=2)
    save(tmp_path, contents)
    with pytest.raises(DataError, match="data_batch_3 cannot be read: it asks for "):
        cifar10(tmp_path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("data_batch_2.bin", binary(1)[:-1], "cut off or damaged"),
        ("data_batch_2.bin", binary(1)[:-3073], "19 images"),
        ("test_batch.bin", b"", "cut off or damaged"),
        ("test_batch.bin", b"\x0b" + binary(5)[1:], "labels go from 0 to 11"),
    ],
)
def test_damaged_binary(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    save(tmp_path, {file: binary(number) for number, file in enumerate(BINARY)} | {name: data})
    with pytest.raises(DataError, match=f"{name} .*{message}"):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"hello", python2(0)[:-9], pickle.dumps([1]), pickle.dumps({"data": np.zeros((NUM, 3072))})]
)
def test_damaged_python_version(tmp_path: Path, data: bytes) -> None:
    save(tmp_path, {name: python2(number) for number, name in enumerate(PYTHON)} | {"test_batch": data})
    with pytest.raises(DataError, match="test_batch cannot be read"):
        cifar10(tmp_path)


@pytest.mark.parametrize("download", [True, False])
def test_missing_files_name_the_places_searched(tmp_path: Path, download: bool) -> None:
    with pytest.raises(DataError) as caught:
        cifar10(tmp_path / "data", download=download)
    message = str(caught.value)
    assert str(tmp_path / "data" / "cifar-10-batches-bin") in message
    assert "--dataset.root" in message
    assert ("no network" in message) == download
