"""A folder of photographs and pretrained weights: images are prepared for the weights without any option."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights, get_model_builder

import wf
from wf.registry import Registry
from wf_datasets.images.image_folder import image_folder
from wf_run.planning.plan import complete
from wf_torchvision.transforms import Preset
from wf_torchvision.weights import wanted
from wf_torchvision.wishes import wants

ROOT = Path(__file__).parents[3]
SMALL = "squeezenet1_1"
NORMALIZED = {"use": "torchvision/preset", "weights": "SqueezeNet1_1_Weights.IMAGENET1K_V1", "resize": False}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, wide, high and square images."""
    generator = torch.Generator().manual_seed(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number, (width, height) in enumerate([(301, 200), (199, 333), (240, 240), (90, 61), (256, 256)]):
            pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A weights file for another number of classes."""
    torch.manual_seed(0)
    torch.save(get_model_builder(SMALL)(weights=None, num_classes=7).state_dict(), tmp_path / "own.pth")
    return tmp_path / "own.pth"


def test_images_equal_torchvisions_preset(photos: Path) -> None:
    preset, name = wanted("resnet18", "default")
    assert name == str(ResNet18_Weights.IMAGENET1K_V1)
    said = wants("resnet18", weights="default")
    dataset = image_folder(photos, image_size=said["image_size"], resize_size=said["resize_size"])
    normalize = Preset(name, resize=False)
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        mine = normalize(dataset.train[number][0].unsqueeze(0))[0]
        with Image.open(path) as image:
            assert torch.equal(mine, preset(image)), path


def test_a_run_of_a_folder_and_weights(wf: Any, tmp_path: Path, photos: Path, file: Path) -> None:
    line = ("--model", f"torchvision/{SMALL}", "--model.weights", file, "--model.image_size", 64)
    line = (*line, "--batch-size", 4, "--steps", 1, "--quiet")
    done = wf("run", "--dataset", photos, *line, "--transform", "+torchvision/RandomHorizontalFlip", "--name", "one")
    assert done.code == 0, done.stderr
    document = tomllib.loads((tmp_path / "runs" / "one" / "run.toml").read_text())
    assert document["dataset"]["image_size"] == [64, 64]
    assert [table["use"] for table in document["transform"]] == ["torchvision/RandomHorizontalFlip", NORMALIZED["use"]]
    assert document["transform"][1] == NORMALIZED
    assert "expects its images" not in done.stderr
    bare = wf("run", "--dataset", photos, *line[:-1], "--transform", "flip", "--dry-run")
    assert "expects its images through transform torchvision/preset (weights = SqueezeNet1_1" in bare.stderr
    file.unlink()
    assert wf("predict", "one", photos / "cat" / "0.png").stdout.strip() in ("cat", "dog")
    assert wf("evaluate", "one").code == 0
    refused = wf("run", "--dataset", photos, *line)
    assert (refused.code, "no file" in refused.stderr) == (4, True)


def test_fine_tuning_equals_the_hand_written_script(tmp_path: Path) -> None:
    """The comparison of docs/recipes/fine-tune-images.md, on a few small images."""
    spec = importlib.util.spec_from_file_location("fine_tune", ROOT / "benchmarks" / "fine_tune.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    photos, weights = script.draw(tmp_path / "photos", 4), script.weights_in(tmp_path)
    (mine, _), (theirs, _) = script.by_hand(photos, weights, 64, 2), script.by_name(photos, weights, 64, 2)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not torch.equal(mine["conv1.weight"], torch.load(weights, weights_only=True)["conv1.weight"])


def test_weights_of_another_architecture_are_refused(wf: Any, photos: Path, file: Path) -> None:
    refused = wf("run", "--dataset", photos, "--model", "torchvision/resnet18", "--model.weights", file, "--steps", 1)
    assert refused.code == 4
    assert "own.pth' does not fit the model: it has no 'fc.weight'" in refused.stderr


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [NORMALIZED]),
        ({"transform": ["mixup"]}, [{"use": "mixup"}]),
        ({"transform": []}, []),
        (
            {"transform": [{"use": "+mixup"}, {"use": "+flip"}]},
            [{"use": "flip"}, NORMALIZED, {"use": "mixup"}],
        ),
    ],
)
def test_normalization_is_added_only_without_named_transforms(asked: Any, found: list[Any], photos: Path) -> None:
    model = {"use": f"torchvision/{SMALL}", "weights": "default"}
    document = {"dataset": {"use": "image-folder", "path": str(photos)}, "model": model, **asked}
    assert complete(document, Registry.discover(only_builtin=True))["transform"] == found


def test_a_model_that_resizes_gets_images_of_that_size() -> None:
    assert wants(SMALL, weights="default", image_size=96) == {"image_size": (96, 96), "transforms": [NORMALIZED]}
    assert wants(SMALL) == wants(SMALL, image_size=96) == wants(SMALL, weights="@null") == {}


def test_model_and_image_size_defaults_for_a_folder(photos: Path, file: Path) -> None:
    exp = wf.build(dataset={"use": "image-folder", "path": str(photos)}, save=False, quiet=True)
    assert exp.name("model") == "cnn"
    assert exp.data.spec.input_shape == (3, 64, 64)
    exp.close()
    model = {"use": f"torchvision/{SMALL}", "weights": str(file)}
    exp = wf.build(dataset={"use": "image-folder", "path": str(photos)}, model=model, save=False, quiet=True)
    assert (exp.data.spec.input_shape, exp.plan["dataset"]["resize_size"]) == ((3, 224, 224), 256)
    exp.close()
