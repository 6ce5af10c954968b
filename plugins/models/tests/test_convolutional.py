"""The convolutional networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from wf.errors import UsageError
from wf_models.convolutional import LeNet, cnn


class HandWritten(nn.Module):
    """LeNet as usually written by hand."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(-1, 400)
        scores: torch.Tensor = self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))
        return scores


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet_equals_the_hand_written_one(channels: int) -> None:
    torch.manual_seed(42)
    mine = LeNet((channels, 32, 32), 10)
    torch.manual_seed(42)
    theirs = HandWritten(channels)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    inputs = torch.rand(2, channels, 32, 32)
    assert torch.equal(mine(inputs), theirs(inputs))


@pytest.mark.parametrize(("side", "before", "after"), [(28, 2, 2), (8, 12, 12), (31, 0, 1)])
def test_lenet_pads_small_images_to_32(side: int, before: int, after: int) -> None:
    model = LeNet((1, side, side), 10)
    inputs = torch.rand(2, 1, side, side)
    padded = functional.pad(inputs, (before, after, before, after))
    large = LeNet((1, 32, 32), 10)
    large.load_state_dict(model.state_dict())
    assert torch.equal(model(inputs), large(padded))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 33, 50), (2, 8, 40)])
def test_lenet_takes_other_sizes(shape: tuple[int, int, int]) -> None:
    assert LeNet(shape, 7)(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("side", [8, 9, 28, 32, 65])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_cnn_takes_any_size_from_8(side: int, batch_norm: bool) -> None:
    model = cnn((1, side, side), 10, batch_norm=batch_norm, dropout=0.1)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model) == batch_norm
    scores = model(torch.rand(1, 1, side, side))
    assert scores.shape == (1, 10)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_cnn_stages() -> None:
    model = cnn((3, 8, 8), 10, channels=[4, 6])
    kinds = "Conv2d BatchNorm2d ReLU MaxPool2d Conv2d BatchNorm2d ReLU AdaptiveAvgPool2d Flatten Linear"
    assert [type(layer).__name__ for layer in model] == kinds.split()
    assert [layer.out_channels for layer in model if isinstance(layer, nn.Conv2d)] == [4, 6]


@pytest.mark.parametrize("build", [LeNet, cnn])
@pytest.mark.parametrize("shape", [(4,), (28, 28), (3, 8, 32, 32)])
def test_samples_other_than_images_are_refused(build: Callable[..., nn.Module], shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"takes images \[channels, height, width\]") as error:
        build(shape, 10)
    assert str(list(shape)) in str(error.value)
    assert "linear, mlp" in str(error.value)


def test_cnn_refuses_images_that_are_too_small() -> None:
    with pytest.raises(UsageError, match="at least 8x8 pixels with 3 stages"):
        cnn((1, 7, 28), 10)
    assert cnn((1, 7, 28), 10, channels=[8, 16])(torch.rand(1, 1, 7, 28)).shape == (1, 10)


@pytest.mark.parametrize("options", [{"channels": []}, {"channels": [0]}, {"dropout": 2.0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} is"):
        cnn((1, 8, 8), 10, **options)
