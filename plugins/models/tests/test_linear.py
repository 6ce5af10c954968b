"""The linear models have the initial weights of a hand-written script."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_models.linear import LinearRegression, linear


class HandWritten(nn.Module):
    """The beginner's line of reference workflow R0."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(1))
        self.bias = nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weights * x + self.bias


def test_linear_regression_equals_the_hand_written_model() -> None:
    torch.manual_seed(42)
    mine = LinearRegression((1,), 1)
    torch.manual_seed(42)
    theirs = HandWritten()
    assert list(mine.state_dict()) == ["weights", "bias"]
    assert [round(value.item(), 4) for value in mine.parameters()] == [0.3367, 0.1288]
    theirs.load_state_dict(mine.state_dict())
    inputs = torch.arange(0, 1, 0.02).unsqueeze(1)
    assert torch.equal(mine(inputs), theirs(inputs))


def test_linear_regression_start_values() -> None:
    model = LinearRegression((1,), 1, weight=0.3, bias=0.9)
    assert torch.equal(model(torch.tensor([[0.0], [2.0]])), torch.tensor([[0.9], [1.5]]))
    torch.manual_seed(42)
    assert LinearRegression((1,), 1, weight=1.0).bias.item() == pytest.approx(0.3367, abs=1e-4)


@pytest.mark.parametrize("shape", [(2,), (), (1, 1), (1, 28, 28)])
def test_linear_regression_refuses_other_inputs(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"takes samples of one feature \[1\]") as error:
        LinearRegression(shape, 1)
    assert str(list(shape)) in str(error.value)
    assert "linear, mlp" in str(error.value)


def test_linear_regression_refuses_more_outputs() -> None:
    with pytest.raises(UsageError, match="3 are wanted"):
        LinearRegression((1,), 3)


@pytest.mark.parametrize("shape", [(4,), (1, 28, 28), (5, 3)])
def test_linear_takes_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = linear(shape, 3)
    torch.manual_seed(0)
    layer = nn.Linear(torch.Size(shape).numel(), 3)
    inputs = torch.rand(2, *shape)
    assert torch.equal(model(inputs), layer(inputs.flatten(1)))
