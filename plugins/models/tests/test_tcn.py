"""The temporal convolutional network depends on the whole past and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from wf.errors import UsageError
from wf_models.tcn import TCN


@pytest.mark.parametrize(("length", "kernel_size"), [(1, 2), (5, 3), (24, 3), (48, 2), (50, 5)])
def test_the_last_step_depends_on_every_input(length: int, kernel_size: int) -> None:
    model = TCN((length, 2), 1, channels=8, kernel_size=kernel_size).double()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.1, 0.2)  # so that no path is cut by a ReLU
    inputs = torch.rand(1, length, 2, dtype=torch.float64, requires_grad=True)
    model(inputs).sum().backward()
    assert inputs.grad is not None
    assert bool((inputs.grad != 0).all())


def test_equals_the_usual_script() -> None:
    torch.manual_seed(42)
    model = TCN((6, 2), 3, channels=4, levels=2)
    torch.manual_seed(42)
    first, second, shortcut = nn.Conv1d(2, 4, 3), nn.Conv1d(4, 4, 3), nn.Conv1d(2, 4, 1)
    third, fourth = nn.Conv1d(4, 4, 3, dilation=2), nn.Conv1d(4, 4, 3, dilation=2)
    head = nn.Linear(4, 3)
    inputs = torch.rand(5, 6, 2)
    x = inputs.transpose(1, 2)
    hidden = second(functional.pad(first(functional.pad(x, (2, 0))).relu(), (2, 0))).relu()
    x = (hidden + shortcut(x)).relu()
    hidden = fourth(functional.pad(third(functional.pad(x, (4, 0))).relu(), (4, 0))).relu()
    assert torch.equal(model(inputs), head((hidden + x).relu()[:, :, -1]))


@pytest.mark.parametrize(("shape", "size"), [((7,), 1), ((7, 3), 3), ((2, 7, 5), 10)])
def test_takes_vectors_sequences_and_images(shape: tuple[int, ...], size: int) -> None:
    model = TCN(shape, 2, channels=4)
    assert model.blocks[0].conv1.in_channels == size
    assert model(torch.rand(3, *shape)).shape == (3, 2)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5, 2), {"channels": 0}, "channels is 0"),
        ((5, 2), {"kernel_size": 1}, "kernel_size is 1"),
        ((5, 2), {"levels": 0}, "levels is 0"),
        ((5, 2), {"dropout": 1.0}, "dropout is 1.0"),
        ((2, 3, 4, 5), {}, r"one sample is \[2, 3, 4, 5\]"),
    ],
)
def test_invalid_shapes_and_options_are_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TCN(shape, 1, **options)
