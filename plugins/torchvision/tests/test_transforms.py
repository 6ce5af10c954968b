"""The catalogue of torchvision's transforms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

from wf.declarations.component import REQUIRED
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf_torchvision.plugin import wf_components
from wf_torchvision.transforms import FIXED, RANDOM, REFUSED, PerSample, Preset, build, described, names

CATALOGUE = next(one for one in wf_components() if one.kind == "transform")
OPTIONS: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": 16},
    "Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "Pad": {"padding": 2},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomAffine": {"degrees": 10.0},
    "RandomCrop": {"size": 32, "padding": 4},
    "RandomPosterize": {"bits": 3},
    "RandomResizedCrop": {"size": 32},
    "RandomRotation": {"degrees": 10.0},
    "RandomSolarize": {"threshold": 0.5},
    "GaussianBlur": {"kernel_size": 3},
    "Resize": {"size": [16, 20]},
}


def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_every_transform_is_fixed_random_or_refused() -> None:
    assert sorted([*FIXED, *RANDOM, *REFUSED]) == names()
    assert set(CATALOGUE.names()) == {*names(), "preset"}
    assert set(CATALOGUE.refused()) == set(REFUSED)
    random = {name for name in CATALOGUE.names() if getattr(CATALOGUE.member(name).traits, "train_only", False)}
    assert random == set(RANDOM)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_transforms_equal_torchvisions_on_a_batch(name: str) -> None:
    options = OPTIONS.get(name, {})
    assert torch.equal(build(name, **options)(images()), getattr(v2, name)(**options)(images()))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_depend_on_the_draws_of_each_sample_alone(name: str) -> None:
    transform, draws = build(name, **OPTIONS.get(name, {})), torch.rand(4, 2)
    assert isinstance(transform, PerSample)
    state, inputs = torch.get_rng_state(), images()
    found = transform(inputs, draws)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(transform(inputs.flip(0), draws.flip(0)).flip(0), found)
    assert found.dtype == inputs.dtype
    assert len(found) == 4
    assert torch.equal(inputs, images())


def test_each_image_is_flipped_or_not() -> None:
    inputs = images()[:1].expand(200, -1, -1, -1)
    flipped = build("RandomHorizontalFlip", p=0.3)(
        inputs, torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    )  # type: ignore[call-arg]
    share = sum(torch.equal(one, inputs[0].flip(-1)) for one in flipped) / 200
    assert 0.2 < share < 0.4


@pytest.mark.parametrize("name", [*FIXED, *RANDOM])
def test_options_can_be_written_and_converted(name: str) -> None:
    options = from_signature(described(name))
    assert "inplace" not in {option.name for option in options}
    given = OPTIONS.get(name, {})
    assert set(given) <= {option.name for option in options}
    values = {}
    for option in options:
        value = given.get(option.name, option.default)
        assert value is not REQUIRED
        values[option.name] = convert(option, value, name)
    build(name, **values)


def test_the_preset_is_that_of_the_weights() -> None:
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()(images())
    assert torch.equal(Preset("resnet18")(images()), expected)
    assert torch.equal(Preset("ResNet18_Weights.IMAGENET1K_V1")(images()), expected)
    grey = images()[:, :1]
    assert torch.equal(Preset("resnet18")(grey), Preset("resnet18")(grey.repeat(1, 3, 1, 1)))


def test_the_preset_of_a_segmentation_leaves_the_size() -> None:
    assert Preset("fcn_resnet50")(images()).shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("RandomRotaton", {}, "did you mean 'RandomRotation'"),
        ("CutMix", {}, "cannot be used: it mixes one batch with its own random numbers"),
        ("RandomHorizontalFlip", {"p": 2.0}, r"torchvision/RandomHorizontalFlip': `p` should be"),
        ("preset", {"weights": "resnet81"}, "did you mean 'resnet18'"),
        ("preset", {"weights": "mc3_18"}, "are not for single images"),
    ],
)
def test_invalid_names_and_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, **options)


def test_images_of_an_unsupported_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"torchvision/ElasticTransform' cannot take images \[4, 3, 8, 8\]"):
        build("ElasticTransform")(images()[..., :8, :8], torch.rand(4, 2))  # type: ignore[call-arg]
