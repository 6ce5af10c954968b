"""The catalogue of timm's models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg
from torch.nn.functional import cross_entropy, interpolate

from wf.errors import DataError, UsageError
from wf_timm.models import REFUSED, build
from wf_timm.plugin import wf_components
from wf_timm.weights import tags

CATALOGUE = next(one for one in wf_components() if one.kind == "model")
WORKING = sorted({*CATALOGUE.names()} - {*CATALOGUE.refused()})
SAMPLE = (
    "convnext_atto",
    "crossvit_9_240",
    "ecaresnet50d_pruned",
    "efficientvit_b0",
    "levit_128s",
    "maxxvit_rmlp_nano_rw_256",
    "test_vit",
)
SMALL = ("test_byobnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_nfnet", "test_resnet", "test_vit")
"""timm's own for tests: they are trained for two steps, at the size of the images."""


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wf_timm.weights._reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_all_1371_are_listed_and_1364_of_them_can_be_used() -> None:
    assert set(CATALOGUE.names()) == set(timm.list_models())
    assert (len(CATALOGUE.names()), len(WORKING)) == (1371, 1364)
    assert CATALOGUE.refused() == REFUSED


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.catalogue) for name in WORKING]
)
def test_every_model_takes_two_steps_on_the_meta_device(name: str) -> None:
    """On the meta device, which computes shapes and dtypes without numbers, because many models are large."""
    config = get_pretrained_cfg(name)
    size = config.input_size[1:] if config is not None else (224, 224)
    with torch.device("meta"):
        model = build(name, (3, *size), 7)
        assert model.training
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            outputs = model(torch.empty(2, 3, *size))
            assert outputs.shape == (2, 7)
            cross_entropy(outputs, torch.zeros(2, dtype=torch.int64)).backward()
            assert any(parameter.grad is not None for parameter in model.parameters())
            optimizer.step()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_small_models_train(name: str, channels: int) -> None:
    torch.manual_seed(0)
    model = build(name, (channels, 64, 64), 4)
    inputs, targets = torch.rand(4, channels, 64, 64), torch.tensor([0, 1, 2, 3])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def test_initial_weights_equal_timms() -> None:
    torch.manual_seed(42)
    mine = build("resnet10t", (1, 32, 32), 10)
    torch.manual_seed(42)
    theirs = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in mine.state_dict().items())


def test_image_size_resizes() -> None:
    model = build("resnet10t", (3, 20, 30), 10, image_size=40).eval()
    plain = timm.create_model("resnet10t", num_classes=10).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 20, 30)
    resized = interpolate(images, size=(40, 40), mode="bilinear", antialias=True)
    assert torch.equal(model(images), plain(resized))


def test_dropout_options_reach_the_model() -> None:
    assert build("resnet10t", (3, 64, 64), 10, drop_rate=0.25).drop_rate == 0.25


def saved(tmp_path: Path, name: str, **options: Any) -> Path:
    torch.manual_seed(7)
    torch.save(timm.create_model(name, **options).state_dict(), tmp_path / "own.pth")
    return tmp_path / "own.pth"


def test_a_weights_file_is_loaded_except_for_the_head(tmp_path: Path) -> None:
    file = saved(tmp_path, "resnet10t")
    theirs, mine = torch.load(file, weights_only=True), build("resnet10t", (3, 64, 64), 5, weights=file).state_dict()
    assert {key for key, value in mine.items() if not torch.equal(value, theirs[key])} == {"fc.weight", "fc.bias"}


def test_the_head_is_loaded_where_it_fits(tmp_path: Path) -> None:
    file = saved(tmp_path, "resnet10t", num_classes=5)
    theirs, mine = torch.load(file, weights_only=True), build("resnet10t", (3, 64, 64), 5, weights=file).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_the_first_layer_is_adapted_to_grey_images(tmp_path: Path) -> None:
    file = saved(tmp_path, "resnet10t")
    theirs, mine = torch.load(file, weights_only=True), build("resnet10t", (1, 64, 64), 5, weights=file).state_dict()
    summed = theirs["conv1.0.weight"].float().sum(1, keepdim=True)
    assert torch.allclose(mine["conv1.0.weight"], summed)


def test_positions_of_a_transformer_are_fitted_to_the_images(tmp_path: Path) -> None:
    file = saved(tmp_path, "test_vit")
    model = build("test_vit", (3, 64, 64), 5, weights=file)
    assert model.get_parameter("pos_embed").shape != torch.load(file, weights_only=True)["pos_embed"].shape


def test_a_file_without_fitting_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own.pth' does not fit model 'timm/resnet10t'"):
        build("resnet10t", (3, 64, 64), 5, weights=saved(tmp_path, "test_vit"))
    (tmp_path / "own.pth").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is damaged, or not a file with weights"):
        build("resnet10t", (3, 64, 64), 5, weights=tmp_path / "own.pth")


@pytest.mark.parametrize("weights", [Path("default"), Path("c3_in1k")])
def test_offline_says_where_it_looked_and_what_to_do(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        build("resnet10t", (3, 64, 64), 5, weights=weights)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    first, why, *_ = text.splitlines()
    assert first == "weights resnet10t.c3_in1k were not found and could not be downloaded"
    assert why.startswith("  ")
    assert why.endswith(".")  # a whole sentence
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) <= 130
    assert f"looked in:\n    {tmp_path / 'hub'} (timm/resnet10t.c3_in1k)" in text
    assert "--model.weights FILE" in text
    assert tags("resnet10t") == ["c3_in1k"]


@pytest.mark.parametrize(
    ("name", "shape", "options", "kind", "message"),
    [
        ("resnet81", (3, 64, 64), {}, UsageError, "did you mean 'resnet"),
        ("resnet18", (4,), {}, UsageError, r"takes images \[channels, height, width\], but one sample is \[4\]"),
        ("resnet18", (3, 64, 64), {"image_size": 0}, UsageError, "image_size is 0; it must be at least 1"),
        ("resnet18", (3, 64, 64), {"weights": Path("a1_in2k")}, UsageError, "did you mean 'a1_in1k'"),
        ("resnet18", (3, 64, 64), {"weights": Path("own.pth")}, DataError, "no file 'own.pth' with weights"),
        ("test_vit", (3, 15, 15), {}, UsageError, r"cannot take images of 15x15 pixels(.|\n)*it was made for 160"),
        ("qwen3_vit_88m_enc", (3, 64, 64), {}, UsageError, "cannot be used: it gives a feature for each patch"),
    ],
)
def test_invalid_names_shapes_and_options_are_refused(
    name: str, shape: tuple[int, ...], options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        build(name, shape, 10, **options)
