"""The catalogue of torchvision's models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models import get_model_builder
from torchvision.models.regnet import BlockParams

from wf.errors import UsageError
from wf_torchvision.detection import detectors
from wf_torchvision.models import REFUSED, build, names
from wf_torchvision.plugin import wf_components

CATALOGUE = next(one for one in wf_components() if one.kind == "model")
USABLE = [name for name, family in names().items() if family not in REFUSED and name not in detectors.REFUSED]
OTHERS = [name for name in USABLE if names()[name] != detectors.FAMILY]
SAMPLE = ("googlenet", "quantized_mobilenet_v2", "lraspp_mobilenet_v3_large", "mc3_18")


def test_all_121_are_listed_and_118_of_them_can_be_used() -> None:
    assert len(CATALOGUE.names()) == 121
    assert set(CATALOGUE.names()) - set(CATALOGUE.refused()) == set(USABLE)
    assert (len(USABLE), len(OTHERS)) == (118, 107)


@pytest.fixture
def regnet_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """regnet computes its widths with tensor values while it is built, which the meta device does not have."""
    original = BlockParams.from_init_params

    def on_cpu(*args: Any, **kwargs: Any) -> BlockParams:
        with torch.device("cpu"):
            return original(*args, **kwargs)

    monkeypatch.setattr(BlockParams, "from_init_params", on_cpu)


def takes_two_steps(name: str) -> None:
    """On the meta device, which computes shapes and dtypes without numbers, because many models are large."""
    family = names()[name]
    shape = (3, 16, 224, 224) if family == "video" else (3, 224, 224) if family == "segmentation" else (1, 28, 28)
    options: dict[str, Any] = {"image_size": 224} if family == "image" else {}
    scores = (2, 7, 224, 224) if family == "segmentation" else (2, 7)
    with torch.device("meta"):
        model = build(name, shape, 7, **options)
        assert model.training
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            outputs = model(torch.empty(2, *shape))
            assert outputs.shape == scores
            cross_entropy(outputs, torch.zeros(2, *scores[2:], dtype=torch.int64)).backward()
            assert any(parameter.grad is not None for parameter in model.parameters())
            optimizer.step()


@pytest.mark.parametrize("name", SAMPLE)
def test_sampled_models_take_two_steps(name: str) -> None:
    takes_two_steps(name)


@pytest.mark.catalogue
@pytest.mark.usefixtures("regnet_computes")
@pytest.mark.parametrize("name", sorted({*OTHERS} - {*SAMPLE}))
def test_every_model_takes_two_steps(name: str) -> None:
    takes_two_steps(name)


@pytest.mark.parametrize(
    ("name", "side"), [("resnet18", 28), ("squeezenet1_1", 32), ("mobilenet_v3_small", 32), ("googlenet", 32)]
)
def test_small_models_train(name: str, side: int) -> None:
    torch.manual_seed(0)
    model = build(name, (3, side, side), 4)
    inputs, targets = torch.rand(4, 3, side, side), torch.tensor([0, 1, 2, 3])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def test_initial_weights_equal_torchvisions() -> None:
    torch.manual_seed(42)
    mine = build("resnet18", (1, 28, 28), 10)
    after_mine = torch.rand(1)
    torch.manual_seed(42)
    theirs = get_model_builder("resnet18")(weights=None, num_classes=10)
    after_theirs = torch.rand(1)
    assert torch.equal(after_mine, after_theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(mine(images), theirs(images.repeat(1, 3, 1, 1)))


def test_image_size_resizes() -> None:
    model = build("resnet18", (3, 20, 30), 10, image_size=40).eval()
    plain = get_model_builder("resnet18")(weights=None, num_classes=10).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 20, 30)
    resized = nn.functional.interpolate(images, size=(40, 40), mode="bilinear", antialias=True)
    assert torch.equal(model(images), plain(resized))


def test_vision_transformer_is_built_for_the_images() -> None:
    assert build("vit_b_32", (3, 64, 64), 10).image_size == 64


def test_segmentation_scores_equal_torchvisions() -> None:
    model = build("lraspp_mobilenet_v3_large", (3, 32, 48), 5).eval()
    plain = get_model_builder("lraspp_mobilenet_v3_large")(weights=None, weights_backbone=None, num_classes=5).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 32, 48)
    assert torch.equal(model(images), plain(images)["out"])
    assert model(images).shape == (2, 5, 32, 48)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet81", (3, 32, 32), "did you mean 'resnet18'"),
        ("resnet18", (4,), r"takes images \[1 or 3, height, width\], but one sample is \[4\]"),
        ("resnet18", (4, 32, 32), r"one sample is \[4, 32, 32\]\n  models that take such samples: linear, mlp, len"),
        ("mc3_18", (3, 32, 32), r"takes videos \[3, frames, height, width\], but one sample is \[3, 32, 32\]"),
        ("alexnet", (3, 32, 32), "cannot take images of 32x32 pixels(.|\n)*set image_size"),
        ("vit_b_16", (1, 28, 28), "cannot take images of 28x28 pixels(.|\n)*set image_size"),
        ("vit_b_16", (3, 32, 64), "cannot take images of 32x64 pixels(.|\n)*set image_size"),
        ("mvit_v2_s", (3, 4, 64, 64), "cannot take videos of 64x64 pixels(.|\n)*16 frames"),
        ("raft_small", (3, 32, 32), "cannot be used: it gives the motion"),
    ],
)
def test_invalid_names_and_shapes_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, shape, 10)


def test_image_size_out_of_range() -> None:
    with pytest.raises(UsageError, match="image_size is 0; it must be at least 1"):
        build("resnet18", (3, 32, 32), 10, image_size=0)
    with pytest.raises(UsageError, match="image_size is for classifiers of images"):
        build("fcn_resnet50", (3, 32, 32), 10, image_size=64)
