"""Pretrained weights, without a network: files in the places of torch.hub."""

from __future__ import annotations

import contextlib
import hashlib
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, get_model_builder

from wf.errors import DataError, UsageError
from wf_torchvision.heads import head_of
from wf_torchvision.models import build
from wf_torchvision.weights import entries

SMALL = "squeezenet1_1"
DEFAULT = Path("default")
FAMILIES = ("googlenet", "lraspp_mobilenet_v3_large", "quantized_mobilenet_v2", "mc3_18")
LARGE = ("densenet121", "fcn_resnet50", "inception_v3", "maxvit_t", "regnet_y_400mf", "swin_v2_t", "vit_b_32")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch.hub, and no network."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    return tmp_path / "hub" / "checkpoints"


def published(name: str) -> nn.Module:
    """The model as torchvision publishes it, with random weights in place of trained ones."""
    torch.manual_seed(7)
    entry = entries(name)["DEFAULT"]
    options: dict[str, Any] = {}
    if name.removeprefix("quantized_") in ("googlenet", "inception_v3"):
        options = {"aux_logits": True, "transform_input": True, "init_weights": False}
    elif name.startswith("lraspp"):
        options = {"weights_backbone": None}
    elif name.startswith(("fcn", "deeplab")):
        options = {"aux_loss": True, "weights_backbone": None}
    elif name.startswith("vit"):
        options = {"image_size": entry.meta["min_size"][0]}
    if name.startswith("quantized_"):
        options["quantize"] = False
    model: nn.Module = get_model_builder(name)(weights=None, num_classes=len(entry.meta["categories"]), **options)
    return model


def put(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    state = published(name).state_dict()
    file = folder / Path(entries(name)["DEFAULT"].url).name
    torch.save(state, file)
    return file


@pytest.mark.parametrize(
    "name",
    [
        SMALL,
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in FAMILIES),
        *(pytest.param(name, marks=pytest.mark.catalogue) for name in LARGE),
    ],
)
def test_everything_except_the_head_is_loaded(name: str, home: Path) -> None:
    file = put(name, home)
    size = entries(name)["DEFAULT"].meta["min_size"][0] if name.startswith("vit") else 96
    shape = (3, 4, 32, 32) if name == "mc3_18" else (3, 224, 224) if name == "maxvit_t" else (3, size, size)
    model = build(name, shape, 5, weights=DEFAULT)
    theirs, mine = torch.load(file, weights_only=True), model.state_dict()
    differing = [key for key, value in mine.items() if not torch.equal(value, theirs[key])]
    assert {key.rpartition(".")[0] for key in differing} == {*head_of(model)}
    assert not [key for key in mine if key.lower().startswith("aux")]
    assert model.training


def test_loading_equals_replacing_the_head_by_hand(home: Path) -> None:
    put("googlenet", home)
    torch.manual_seed(3)
    mine = build("googlenet", (3, 64, 64), 5, weights=DEFAULT).eval()
    torch.manual_seed(3)
    theirs = get_model_builder("googlenet")(weights="DEFAULT")
    theirs.fc = nn.Linear(1024, 5)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(mine(images), theirs.eval()(images))


def test_the_head_is_loaded_where_it_fits(home: Path) -> None:
    put("squeezenet1_1", home)
    model = build("squeezenet1_1", (3, 64, 64), 1000, weights=DEFAULT).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(images), published("squeezenet1_1").eval()(images))


@pytest.mark.catalogue
def test_positions_of_a_transformer_are_fitted_to_the_images(home: Path) -> None:
    put("vit_b_32", home)
    model = build("vit_b_32", (3, 64, 64), 5, weights=DEFAULT)
    assert model.get_parameter("encoder.pos_embedding").shape == (1, 5, 768)


@pytest.mark.exhaustive
def test_old_names_of_densenet_are_read(home: Path) -> None:
    file = put("densenet121", home)
    state = torch.load(file, weights_only=True)
    renamed = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): key for key in state}
    old = {name: state[key] for name, key in renamed.items() if "num_batches_tracked" not in key}
    assert list(old) != list(state)
    torch.save(old, file)
    key = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(build("densenet121", (3, 64, 64), 5, weights=DEFAULT).state_dict()[key], state[key])


@pytest.mark.parametrize("word", ["IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"])
def test_weights_by_name(word: str, home: Path) -> None:
    put("squeezenet1_1", home)
    model = build("squeezenet1_1", (3, 64, 64), 5, weights=Path(word))
    assert torch.equal(
        model.state_dict()["features.0.bias"], published("squeezenet1_1").state_dict()["features.0.bias"]
    )


def test_weights_from_a_user_file(tmp_path: Path) -> None:
    own = get_model_builder("squeezenet1_1")(weights=None, num_classes=3)
    torch.save({"model": own.state_dict(), "epoch": 3}, tmp_path / "own.pth")
    model = build("squeezenet1_1", (3, 64, 64), 3, weights=tmp_path / "own.pth")
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in model.state_dict().items())
    other = build("squeezenet1_1", (3, 64, 64), 4, weights=tmp_path / "own.pth")
    assert other.get_parameter("classifier.1.weight").shape == (4, 512, 1, 1)
    with pytest.raises(DataError, match=r"own.pth' does not fit the model: it has no 'fc.weight'"):
        build("resnet18", (3, 64, 64), 4, weights=tmp_path / "own.pth")


def test_weights_from_a_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    own = get_model_builder("squeezenet1_1")(weights=None, num_classes=3).state_dict()
    save_file(own, tmp_path / "own.safetensors")
    model = build("squeezenet1_1", (3, 64, 64), 3, weights=tmp_path / "own.safetensors")
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())


def test_offline_says_where_it_looked_and_what_to_do(home: Path) -> None:
    with pytest.raises(DataError) as caught:
        build("resnet18", (3, 64, 64), 5, weights=DEFAULT)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "ResNet18_Weights.IMAGENET1K_V1 were not found and could not be downloaded: <urlopen error no net" in text
    assert f"looked for:\n    {home / 'resnet18-f37072fd.pth'}" in text
    assert ResNet18_Weights.IMAGENET1K_V1.url in text
    assert "--model.weights FILE" in text


def test_a_download_is_checked_by_its_hash(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put("squeezenet1_1", tmp_path / "elsewhere")
    content = file.read_bytes()
    entry = entries("squeezenet1_1")["DEFAULT"]

    class Answer(contextlib.AbstractContextManager[Any]):
        headers: dict[str, str] = {"Content-Length": str(len(content))}  # noqa: RUF012 - as urllib has it

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.rest = content

        def __exit__(self, *args: object) -> None:
            pass

        def info(self) -> Any:
            return self

        def get_all(self, name: str) -> list[str]:
            return [self.headers[name]]

        def read(self, size: int) -> bytes:
            part, self.rest = self.rest[:size], self.rest[size:]
            return part

    monkeypatch.setattr("torch.hub.urlopen", Answer)
    with pytest.raises(DataError, match="could not be downloaded: invalid hash value"):
        build("squeezenet1_1", (3, 64, 64), 5, weights=DEFAULT)
    assert not list(home.iterdir())
    digest = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.setattr(entry.value, "url", f"https://example.org/squeezenet1_1-{digest}.pth")
    build("squeezenet1_1", (3, 64, 64), 5, weights=DEFAULT)
    assert [one.name for one in home.iterdir()] == [f"squeezenet1_1-{digest}.pth"]


def test_a_damaged_file(home: Path) -> None:
    file = put("squeezenet1_1", home)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="is damaged, or not a file with weights"):
        build("squeezenet1_1", (3, 64, 64), 5, weights=DEFAULT)


def test_a_file_without_a_state_dict(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "own.pth")
    with pytest.raises(DataError, match="holds no state_dict"):
        build("squeezenet1_1", (3, 64, 64), 5, weights=tmp_path / "own.pth")


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("IMAGENET1K_V9", UsageError, "did you mean 'IMAGENET1K_V1'"),
        ("nowhere/own.pth", DataError, "no file 'nowhere/own.pth'"),
        ("own.pth", DataError, "no file 'own.pth'"),
    ],
)
def test_missing_weights_are_refused(word: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        build("resnet18", (3, 64, 64), 5, weights=Path(word))
