import gzip
import struct
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.datasets

from wf.errors import DataError
from wf_datasets.images import mnist as module
from wf_datasets.images.idx import read_idx
from wf_datasets.images.mnist import CLOTHES, DEBIAN, DIGITS, FILES, fashion_mnist, mnist

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = FILES


def idx(data: torch.Tensor) -> bytes:
    return b"\0\0\x08" + struct.pack(f">B{data.ndim}I", data.ndim, *data.shape) + bytes(data.flatten().tolist())


def small(num_train: int = 20, num_test: int = 10) -> dict[str, bytes]:
    generator = torch.Generator().manual_seed(0)
    contents = {}
    for images, labels, num in ((IMAGES, LABELS, num_train), (TEST_IMAGES, TEST_LABELS, num_test)):
        contents[images] = idx(torch.randint(256, (num, 28, 28), generator=generator))
        contents[labels] = idx(torch.arange(num) % 10)
    return contents


def save(folder: Path, contents: dict[str, bytes], packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No installed data and no network, except for the tests with the real data."""
    if "real" not in request.node.name:
        monkeypatch.setattr(module, "DEBIAN", tmp_path / "system")

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    for name in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(torchvision.datasets, name, refuse)


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "unpacked"])
@pytest.mark.parametrize("inside", ["", "MNIST/raw", "mnist"])
def test_reads_files(tmp_path: Path, inside: str, packed: bool) -> None:
    contents = small()
    save(tmp_path / "data" / inside, contents, packed)
    dataset = mnist(data_dir=tmp_path / "data")
    assert dataset.test is not None
    x, y = dataset.train.inputs, dataset.train.targets
    assert (x.shape, x.dtype, y.dtype, dataset.targets) == ((20, 1, 28, 28), torch.uint8, torch.int64, "class_index")
    assert bytes(x.flatten().tolist()) == contents[IMAGES][16:]
    assert y.tolist() == [*range(10), *range(10)]
    assert bytes(dataset.test.inputs.flatten().tolist()) == contents[TEST_IMAGES][16:]
    assert dataset.class_names == DIGITS


def test_search_order_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, place in enumerate(("root/FashionMNIST/raw", "data", "system"), start=1):
        save(tmp_path / place, small(num_train=10 * number))
    root, data_dir = tmp_path / "root", tmp_path / "data"
    assert len(fashion_mnist(data_dir, root=root).train) == 10
    assert len(fashion_mnist(data_dir).train) == 20
    assert len(fashion_mnist(tmp_path / "other").train) == 30
    assert fashion_mnist(data_dir).class_names == CLOTHES
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(fashion_mnist(tmp_path / "other", root=Path("~/root")).train) == 10


def test_incomplete_folder_is_skipped(tmp_path: Path) -> None:
    save(tmp_path / "data", {name: content for name, content in small().items() if name != TEST_LABELS})
    save(tmp_path / "system", small(num_train=30))
    assert len(fashion_mnist(tmp_path / "data").train) == 30


@pytest.mark.parametrize("download", [True, False])
def test_missing_files_name_the_places_searched(
    tmp_path: Path, download: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        fashion_mnist(tmp_path / "data", root=tmp_path / "root", download=download)
    message = str(caught.value)
    assert caught.value.exit_code == 4
    for place in ("root", "root/FashionMNIST/raw", "data", "data/FashionMNIST/raw", "system"):
        assert f"    {tmp_path / place}\n" in message
    for way in ("apt-get install dataset-fashion-mnist", "--dataset.root", "WF_DATA_DIR"):
        assert way in message
    assert ("no network" in message) == download
    assert ("downloading is off" in message) != download
    assert capsys.readouterr().out == ""


def test_download_goes_to_root_and_prints_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(root: Path, download: bool) -> None:
        assert download
        print("half way")
        save(Path(root) / "FashionMNIST" / "raw", small())

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake)
    assert len(fashion_mnist(tmp_path / "data", root=tmp_path / "root").train) == 20
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "half way" in captured.err
    assert (tmp_path / "root" / "FashionMNIST").is_dir()


def test_download_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DataError, match="could not be downloaded"):
        mnist(tmp_path / "data" / "inside")


def test_download_that_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda *_, **__: None)
    with pytest.raises(DataError, match="after the download either"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, lambda content: content[:-1], "cut off or damaged"),
        (LABELS, lambda content: content + b"\0", "cut off or damaged"),
        (IMAGES, lambda content: b"\0\0\x0d" + content[3:], "not an IDX file"),
        (IMAGES, lambda content: content[:9], "not an IDX file"),
        (TEST_LABELS, lambda content: b"", "not an IDX file.*nothing"),
        (TEST_LABELS, lambda content: idx(torch.arange(9)), "10 images, but .* 9 labels"),
        (LABELS, lambda content: idx(torch.arange(20)), "the label 19"),
        (IMAGES, lambda content: idx(torch.arange(20)), "an array of 1 axes, not 3"),
    ],
)
def test_damaged_content(tmp_path: Path, name: str, damage: Any, message: str) -> None:
    contents = small()
    save(tmp_path, contents | {name: damage(contents[name])})
    with pytest.raises(DataError, match=message):
        mnist(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    file = save(tmp_path, small()) / f"{LABELS}.gz"
    content = bytearray(file.read_bytes())
    content[-6] ^= 255
    file.write_bytes({"cut": file.read_bytes()[:-5], "flipped": bytes(content), "not gzip": b"hello"}[damage])
    with pytest.raises(DataError, match=f"{LABELS}.gz cannot be read"):
        mnist(tmp_path)


@pytest.mark.exhaustive  # a process that imports torch
def test_reading_needs_no_torchvision(tmp_path: Path) -> None:
    save(tmp_path, small())
    code = (
        "import sys, pathlib; from wf_datasets.images.mnist import mnist; mnist(pathlib.Path(sys.argv[1])); "
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


needs_fashion_mnist = pytest.mark.skipif(
    not (DEBIAN / f"{IMAGES}.gz").exists(), reason="no Fashion-MNIST here: apt-get install dataset-fashion-mnist"
)


@needs_fashion_mnist
def test_real_fashion_mnist(tmp_path: Path) -> None:
    dataset = fashion_mnist(tmp_path, download=False)
    assert dataset.test is not None
    assert dataset.train.inputs.shape == (60_000, 1, 28, 28)
    assert dataset.test.inputs.shape == (10_000, 1, 28, 28)
    assert dataset.train.targets.bincount().tolist() == [6000] * 10
    assert dataset.test.targets.bincount().tolist() == [1000] * 10
    assert [CLOTHES[index] for index in dataset.train.targets[:3].tolist()] == [
        "Ankle boot",
        "T-shirt/top",
        "T-shirt/top",
    ]
    assert float(dataset.train.inputs.float().mean() / 255) == pytest.approx(0.2860, abs=1e-4)  # well known
    assert float(dataset.train.inputs.float().std() / 255) == pytest.approx(0.3530, abs=1e-4)


@needs_fashion_mnist
@pytest.mark.alone
def test_real_fashion_mnist_is_read_fast(tmp_path: Path) -> None:
    start = time.process_time()
    fashion_mnist(tmp_path, download=False)
    assert time.process_time() - start < 1.0


def test_read_idx_of_any_shape(tmp_path: Path) -> None:
    for shape in ((0,), (5,), (2, 3, 4, 5), ()):
        data = torch.arange(120)[: max(1, torch.Size(shape).numel()) if shape != (0,) else 0].reshape(shape)
        file = tmp_path / "file"
        file.write_bytes(idx(data))
        assert torch.equal(read_idx(file), data.to(torch.uint8))
