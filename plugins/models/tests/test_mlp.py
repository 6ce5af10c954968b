"""The multilayer perceptron has the layers and initial weights of a hand-written script."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_models.mlp import ACTIVATIONS, mlp


def test_default_equals_the_hand_written_network() -> None:
    torch.manual_seed(42)
    model = mlp((1, 28, 28), 10)
    torch.manual_seed(42)
    flatten = nn.Flatten()
    stack = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    kinds = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in model] == kinds
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(model.parameters(), stack.parameters(), strict=True))
    inputs = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(inputs), stack(flatten(inputs)))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_options(activation: Any) -> None:
    model = mlp((4,), 3, hidden=[5, 6, 7], activation=activation, dropout=0.5)
    names = [type(layer).__name__ for layer in model]
    stage = ["Linear", ACTIVATIONS[activation].__name__, "Dropout"]
    assert names == ["Flatten", *stage * 3, "Linear"]
    assert model(torch.rand(2, 4)).shape == (2, 3)


def test_no_hidden_layer_is_a_linear_model() -> None:
    assert [type(layer) for layer in mlp((4,), 3, hidden=[])] == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"hidden": [8, 0]}, r"hidden is \[8, 0\]"), ({"dropout": 1.0}, "dropout is 1.0"), ({"dropout": -0.1}, "dropout")],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mlp((4,), 3, **options)
