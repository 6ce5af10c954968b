"""R0: a line, mean absolute error, gradient descent: the figures of a hand-written loop, to the last digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import EXAMPLES, manifest, records, weights
from torch import nn

EPOCHS = {
    0: (0.31288138031959534, 0.48106518387794495),
    10: (0.1976713240146637, 0.3463551998138428),
    50: (0.04167863354086876, 0.09919948130846024),
    90: (0.02788739837706089, 0.06473556160926819),
}
UNTRAINED = "0.3982 0.4049 0.4116 0.4184 0.4251 0.4318 0.4386 0.4453 0.4520 0.4588"
TRAINED = "0.8141 0.8256 0.8372 0.8488 0.8603 0.8719 0.8835 0.8950 0.9066 0.9182"


class Line(nn.Module):
    """The model as a beginner writes it, for the weights that wf saved."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(torch.randn(1)), nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weights * x + self.bias


def line(weight: float, bias: float, step: float) -> tuple[torch.Tensor, torch.Tensor, int]:
    x = torch.arange(0, 1, step).unsqueeze(1)
    return x, weight * x + bias, int(0.8 * len(x))


def by_hand(weight: float, bias: float, step: float, lr: float, epochs: int) -> tuple[Line, list[tuple[float, float]]]:
    """The hand-written loop: the model, and the losses of train and test in each epoch."""
    x, y, num_train = line(weight, bias, step)
    torch.manual_seed(42)
    model, losses = Line(), []
    loss_fn, optimizer = nn.L1Loss(), torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        loss = loss_fn(model(x[:num_train]), y[:num_train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.inference_mode():
            losses.append((loss.item(), loss_fn(model(x[num_train:]), y[num_train:]).item()))
    return model, losses


@pytest.fixture
def r0(wf: Any, tmp_path: Path) -> Path:
    assert wf("run", EXAMPLES / "r0_line.toml", "--name", "r0").code == 0
    return tmp_path / "runs" / "r0"


def test_losses_of_every_epoch(r0: Path) -> None:
    train, test = records(r0, "train"), records(r0, "eval", "test")
    for epoch, figures in EPOCHS.items():
        assert (train[epoch]["epoch"], test[epoch]["epoch"]) == (epoch, epoch)
        assert (train[epoch]["loss"], test[epoch]["loss"]) == figures
    _, expected = by_hand(0.7, 0.3, 0.02, 0.01, 100)
    assert [(a["loss"], b["loss"]) for a, b in zip(train, test, strict=True)] == expected
    assert manifest(r0)["samples"] == {"train": 40, "test": 10}


def test_learned_parameters_and_plots(r0: Path) -> None:
    learned = weights(r0)
    assert {name: f"{tensor.item():.4f}" for name, tensor in learned.items()} == {"weights": "0.5784", "bias": "0.3513"}
    for name in ("loss.svg", "predictions.svg"):
        assert "<svg" in (r0 / "plots" / name).read_text()


def test_predictions_untrained_and_trained(wf: Any, r0: Path) -> None:
    assert wf("run", EXAMPLES / "r0_line.toml", "--epochs", 0, "--name", "untrained", "--quiet").code == 0
    initial = weights(r0.parent / "untrained")
    assert [f"{initial[name].item():.4f}" for name in ("weights", "bias")] == ["0.3367", "0.1288"]
    assert wf("predict", "untrained", "test").stdout.split() == UNTRAINED.split()
    assert wf("predict", "r0", "test").stdout.split() == TRAINED.split()


def test_state_dict_saved_and_loaded_into_a_fresh_model(wf: Any, r0: Path, tmp_path: Path) -> None:
    assert wf("export", "r0", "models/line.pt").code == 0
    predicted = [row["output"][0] for row in wf("predict", "r0", "test", "--json").json()]
    fresh = Line()
    fresh.load_state_dict(torch.load(tmp_path / "models" / "line.pt", weights_only=True))
    x, _, num_train = line(0.7, 0.3, 0.02)
    fresh.eval()
    with torch.inference_mode():
        assert fresh(x[num_train:]).flatten().tolist() == predicted


def test_r0_resumed_to_200_epochs_equals_an_uninterrupted_run(wf: Any, r0: Path, tmp_path: Path) -> None:
    assert wf("run", EXAMPLES / "r0_line.toml", "--epochs", 200, "--name", "straight").code == 0
    assert wf("resume", "r0", "--epochs", 200).code == 0
    model, expected = by_hand(0.7, 0.3, 0.02, 0.01, 200)
    for run in (tmp_path / "runs" / "straight", r0):
        assert {name: tensor.item() for name, tensor in weights(run).items()} == {
            name: tensor.item() for name, tensor in model.state_dict().items()
        }
        assert [record["loss"] for record in records(run, "train")] == [train for train, _ in expected]
        assert manifest(run)["reason"] == "200 epochs done"


@pytest.mark.exhaustive
def test_line_with_small_steps(wf: Any, tmp_path: Path) -> None:
    assert wf("run", EXAMPLES / "r0_line_small_steps.toml", "--name", "small", "--quiet").code == 0
    run = tmp_path / "runs" / "small"
    model, expected = by_hand(0.3, 0.9, 0.01, 0.001, 10_000)
    assert [record["loss"] for record in records(run, "train")] == [train for train, _ in expected]
    test = {record["epoch"]: record["loss"] for record in records(run, "eval", "test")}
    assert list(test) == list(range(99, 10_000, 100))
    assert list(test.values()) == [expected[epoch][1] for epoch in test]
    assert {name: tensor.item() for name, tensor in weights(run).items()} == {
        name: tensor.item() for name, tensor in model.state_dict().items()
    }
    assert [f"{tensor.item():.2f}" for tensor in (model.weights, model.bias)] == ["0.30", "0.90"]
