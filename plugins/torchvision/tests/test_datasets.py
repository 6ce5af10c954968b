"""The catalogue of torchvision's datasets, from files made here; no network."""

from __future__ import annotations

import struct
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.datasets import EuroSAT, Imagenette

from wf.errors import DataError, PluginError, UsageError
from wf.parameters import from_signature
from wf_base import TensorSamples
from wf_torchvision.datasets import FORMS, REFUSED, Images, build, described, fake, make, names
from wf_torchvision.plugin import wf_components
from wf_torchvision.reader import ImageReader

CATALOGUE = next(one for one in wf_components() if one.kind == "dataset")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def write_idx(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.tobytes())


def write_images(folder: Path, classes: list[str], num: int, ending: str = "jpg") -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(num):
            pixels = np.full((20, 30, 3), 10 * number + index, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{index}.{ending}")


def test_every_dataset_is_listed_or_refused_with_the_reason() -> None:
    used = {form.kind for form in FORMS.values()} | {"FakeData"}
    assert not used & set(REFUSED)
    assert used | set(REFUSED) == set(names())
    assert set(CATALOGUE.names()) == {*FORMS, "fake", *REFUSED}
    assert set(CATALOGUE.refused()) == set(REFUSED)


def test_mnist_is_read_into_memory_with_its_test_split(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    for part, num in (("train", 20), ("t10k", 10)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.arange(num * 784, dtype=np.uint8).reshape(num, 28, 28))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(num, dtype=np.uint8) % 10)
    dataset = build("mnist", tmp_path)
    assert isinstance(dataset.train, TensorSamples)
    assert isinstance(dataset.test, TensorSamples)
    assert dataset.train.inputs.shape == (20, 1, 28, 28)
    assert dataset.test.targets.tolist() == list(range(10))
    assert dataset.class_names[3] == "3 - three"
    theirs = torchvision.datasets.MNIST(str(tmp_path), train=True)
    assert torch.equal(dataset.train.inputs[3, 0], torch.from_numpy(np.array(theirs[3][0])))


def test_a_dataset_without_splits_is_divided_by_wf(tmp_path: Path) -> None:
    write_images(tmp_path / "eurosat" / "2750", ["Forest", "River"], 3)
    dataset = build("eurosat", tmp_path, image_size=8)
    assert (len(dataset.train), dataset.validation, dataset.test) == (6, None, None)
    assert dataset.target_tensor is not None
    assert dataset.target_tensor.tolist() == [0, 0, 0, 1, 1, 1]
    assert list(dataset.class_names) == ["Forest", "River"]
    image, label = dataset.train[4]
    assert image.shape == (3, 8, 8)
    assert (image.dtype, label) == (torch.float32, 1)
    assert abs(float(image.mean()) * 255 - 11) < 1
    assert EuroSAT(str(tmp_path))[4][1] == 1


def test_splits_and_options_of_the_library(tmp_path: Path) -> None:
    folder = tmp_path / "imagenette2-160"
    wnids = list(Imagenette._WNID_TO_CLASS)
    write_images(folder / "train", wnids, 2, "jpeg")
    write_images(folder / "val", wnids, 1, "jpeg")
    dataset = make("imagenette", data_dir=tmp_path, size="160px", image_size=8)
    assert dataset.validation is not None
    assert (len(dataset.train), len(dataset.validation), dataset.test) == (20, 10, None)
    assert dataset.class_names[0] == "tench"


def test_the_option_root_comes_first(tmp_path: Path) -> None:
    write_images(tmp_path / "mine" / "eurosat" / "2750", ["Forest", "River"], 2)
    assert len(build("eurosat", tmp_path / "data", tmp_path / "mine").train) == 4


@pytest.mark.parametrize("name", sorted(FORMS))
def test_missing_data_name_the_places_searched(name: str, tmp_path: Path) -> None:
    for download in (False, True):
        with pytest.raises((DataError, PluginError)) as caught:  # a library that reads it may be missing
            build(name, tmp_path / "data", tmp_path / "mine", download=download)
        if isinstance(caught.value, DataError):
            assert f"looked in:\n    {tmp_path / 'mine'}\n    {tmp_path / 'data'}\n" in str(caught.value)
            assert "--dataset.root DIR, or WF_DATA_DIR" in str(caught.value)
        else:
            assert f"reads {FORMS[name].kind} with another library" in str(caught.value)


@pytest.mark.parametrize("name", [*FORMS, "fake"])
def test_every_option_is_described(name: str) -> None:
    options = {option.name: option for option in from_signature(described(name))}
    assert all(option.help for option in options.values())
    assert ("image_size" in options) is (name == "fake" or not FORMS[name].in_memory)


def test_fake_equals_torchvisions_fake_data() -> None:
    dataset = fake(size=10, image_size=16, num_classes=3)
    theirs = torchvision.datasets.FakeData(10, (3, 16, 16), 3)
    image, label = theirs[4]
    mine = dataset.train[4]
    assert mine[1] == label
    assert torch.equal(mine[0], torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cifar1000"}, "did you mean 'cifar100'"),
        ({"name": "eurosat", "image_size": 0}, "image_size is 0; it must be at least 1"),
    ],
)
def test_invalid_names_and_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        build(data_dir=tmp_path, **options)
    with pytest.raises(UsageError, match="num_classes at least 2"):
        fake(num_classes=1)


def test_prediction_reads_images_as_training_does(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    image.save(tmp_path / "a.png")
    samples = Images([(image, 1)], (6, 4))
    reader = ImageReader((6, 4), 3, whole=False)
    assert ImageReader(**reader.description()).description() == reader.description()
    assert torch.equal(reader.read(tmp_path / "a.png")[0], samples[0][0])
    rows = [{"image": given} for given in (image, str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes())]
    assert torch.equal(reader.from_records(rows), torch.stack([samples[0][0]] * 3))
    assert reader.fields() == [{"name": "image", "type": "image", "channels": 3, "size": [6, 4]}]
    with pytest.raises(DataError, match="there, row 8: 'image' is missing"):
        reader.from_records([{"image": image}, {}], "there", 7)
    with pytest.raises(DataError, match="image 'there, row 7' cannot be read: cannot identify"):
        reader.from_records([{"image": b"none"}], "there", 7)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        reader.read(tmp_path / "deep.png")
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    with pytest.raises(DataError, match="more than 8 bits"):
        Images([(deep, 1)], (6, 4))[0]
