"""Gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from wf import Epochs, Loop
from wf.errors import UsageError
from wf_training.hooks.gradient_clip import GradientClip


class Trainer:
    """One step of plain gradient descent that announces its gradients."""

    def __init__(self, scale: float = 1.0) -> None:
        self.before_update: tuple[Any, ...] = ()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        self.scale = scale

    def train_step(self, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = (self.weight * batch.inputs).sum() * self.scale
        torch.autograd.backward(loss)
        for call in self.before_update:
            call()
        with torch.no_grad():
            assert self.weight.grad is not None
            self.weight.sub_(self.weight.grad)
            self.weight.grad = None
        return loss.detach()


DATA = [(torch.tensor([[3.0, -4.0]]), torch.zeros(1))]


def updated(scale: float, **options: Any) -> list[float]:
    trainer = Trainer(scale)
    Loop(trainer, hooks=[GradientClip([trainer.weight], **options)]).run(DATA, Epochs(1))
    return trainer.weight.tolist()


def test_large_gradients_are_scaled_to_the_norm() -> None:
    assert updated(1.0, max_norm=2.5) == pytest.approx([3 - 1.5, 4 + 2.0])


def test_small_gradients_stay_as_they_are() -> None:
    assert updated(0.1, max_norm=2.5) == pytest.approx([3 - 0.3, 4 + 0.4])


def test_the_order_of_the_norm() -> None:
    assert updated(1.0, max_norm=2.0, norm_type=math.inf) == pytest.approx([3 - 1.5, 4 + 2.0])


def test_by_value_each_element_is_cut() -> None:
    assert updated(1.0, max_norm=3.5, by="value") == pytest.approx([0.0, 7.5])


def test_a_trainer_that_does_not_announce_its_gradients_is_refused() -> None:
    class Silent:
        def train_step(self, batch: Any) -> torch.Tensor:
            return torch.tensor(1.0)

    with pytest.raises(UsageError, match="GradientClip"):
        Loop(Silent(), hooks=[GradientClip([])]).run(DATA, Epochs(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_norm": 0.0}, "max_norm is 0"),
        ({"max_norm": math.nan}, "max_norm is nan"),
        ({"norm_type": -1.0}, "norm_type is -1"),
        ({"by": "norms"}, "choose from norm, value"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GradientClip([], **options)
