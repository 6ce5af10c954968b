from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from wf import Epochs, Hook, Loop
from wf.errors import UsageError
from wf_example import plugin
from wf_example.dataset import points
from wf_example.loss import log_cosh
from wf_example.trainer import HandGradient


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))


class Losses(Hook):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, run: Loop, record: Mapping[str, float]) -> None:
        if "loss" in record:
            self.values.append(record["loss"])


def descend(lr: float, scale: float = 1.0) -> tuple[list[float], Line]:
    x, y = points()
    model, losses = Line(), Losses()
    Loop(HandGradient(model, lr=lr), hooks=[losses]).run([(scale * x, y)], until=Epochs(10))
    return losses.values, model


@pytest.mark.parametrize(
    ("lr", "scale", "losses", "parameters"),
    [
        (1e-2, 1.0, (1763.884644, 10424.541016, 112821534720), (-67495.09, -3787.77)),
        (1e-4, 1.0, (1763.884644, 1667.137939, 1110.275269), (1.8376, 0.0741)),
        (1e-2, 0.1, (2806.242188, 2534.330811, 1139.642456), (11.4749, 8.2523)),
    ],
)
def test_hand_gradient(lr: float, scale: float, losses: tuple[float, ...], parameters: tuple[float, float]) -> None:
    values, model = descend(lr, scale)
    assert [values[0], values[1], values[9]] == pytest.approx(losses, rel=1e-6)
    assert [model.weights.item(), model.bias.item()] == pytest.approx(parameters, rel=1e-5, abs=5e-5)


def test_hand_gradient_refuses_another_model() -> None:
    with pytest.raises(UsageError, match="linear-regression"):
        HandGradient(nn.Linear(1, 1))


def test_log_cosh_near_and_far() -> None:
    zero = torch.zeros(1, 1)
    near, far = log_cosh(zero + 1e-2, zero), log_cosh(zero + 1e4, zero, scale=2.0)
    assert near.item() == pytest.approx(0.5e-4, rel=1e-3)
    assert far.item() == pytest.approx(2e4, rel=1e-3)


def test_log_cosh_gradient_is_tanh() -> None:
    predictions = torch.linspace(-3, 3, 7, dtype=torch.float64).unsqueeze(1).requires_grad_()
    log_cosh(predictions, torch.zeros_like(predictions)).backward()  # type: ignore[no-untyped-call]  # torch
    torch.testing.assert_close(predictions.grad, predictions.detach().tanh() / 7)


@pytest.mark.parametrize(("targets", "scale"), [(torch.zeros(3), 1.0), (torch.zeros(3, 1), 0.0)])
def test_log_cosh_refuses(targets: Tensor, scale: float) -> None:
    with pytest.raises(UsageError):
        log_cosh(torch.zeros(3, 1), targets, scale)


def test_declares_its_components() -> None:
    names = [(component.kind, component.name) for component in plugin.wf_components()]
    assert names == [("loss", "log-cosh"), ("trainer", "hand-gradient"), ("dataset", "points")]
