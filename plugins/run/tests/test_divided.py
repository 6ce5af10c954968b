"""Whether loss and outputs of a batch are those of its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf_base import BaseTrainer, Batch, TaskRuntime
from wf_losses.combined import SumLoss
from wf_losses.cross_entropy import CrossEntropyLoss, WeightedCrossEntropyLoss
from wf_losses.regression import MSELoss
from wf_run.parts.division.comparing import Found, try_parts

NUM, CLASSES = 16, 3


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES))


class Centred(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(0))


class Total(nn.Module):
    reduction = "sum"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="sum")


class Running(nn.Module):
    """Divides by a running mean, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.calls = 0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        loss = F.cross_entropy(outputs, targets)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss / self.mean


class Ignoring(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=0)


class Told(Ignoring):
    def total_weight(self, targets: Tensor) -> Tensor:
        return (targets != 0).sum()


class Own(BaseTrainer):
    def compute_loss(self, batch: Batch) -> Any:
        outputs = self.model(batch.inputs)
        return {"fit": F.cross_entropy(outputs, batch.targets), "size": outputs.square().mean()}


class Spread(Own):
    def compute_loss(self, batch: Batch) -> Any:
        return {**super().compute_loss(batch), "spread": self.model(batch.inputs).std(0).sum()}


def root(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets).sqrt()


def noisy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs + torch.randn_like(outputs), targets)


def found_by(loss: Any, model: nn.Module | None = None, trainer: Any = None) -> Found:
    torch.manual_seed(0)
    inputs, targets = torch.randn(NUM, 4), torch.arange(NUM) % CLASSES
    targets[:5] = 0
    made = Net() if model is None else model
    batch = Batch(inputs, targets, None, None, NUM)
    own = None if trainer is None else trainer(made, torch.optim.SGD(made.parameters()))
    before = torch.get_rng_state()
    buffers = {name: one.clone() for name, one in made.named_buffers()}
    found = try_parts(made, loss, loss, own, TaskRuntime(), batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, buffers[name]) for name, one in made.named_buffers())
    assert made.training
    return found


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropyLoss(label_smoothing=0.1),
        CrossEntropyLoss(ignore_index=0),
        WeightedCrossEntropyLoss([9, 4, 3]),
        SumLoss([CrossEntropyLoss(), WeightedCrossEntropyLoss([9, 4, 3])], weights=[0.3, 2.0]),
        SumLoss([CrossEntropyLoss()], learned=True),
        Total(),
        Told(),
        noisy,
    ],
)
def test_means_and_sums_are_those_of_their_parts(loss: Any) -> None:
    assert found_by(loss) == Found()


@pytest.mark.parametrize("loss", [root, lambda outputs, targets: Total()(outputs, targets), Ignoring()])
def test_other_losses_are_found(loss: Any) -> None:
    found = found_by(loss).loss
    assert found is not None
    assert found[0] != pytest.approx(found[1], rel=1e-4)


def test_a_loss_keeps_its_state_and_tells_of_it() -> None:
    loss = Running()
    assert found_by(loss) == Found(state=("mean",))
    assert (loss.calls, float(loss.mean)) == (0, 1.0)


def test_a_model_that_looks_across_samples_is_found() -> None:
    assert found_by(CrossEntropyLoss(), Centred()) == Found(crosses=True)


def test_the_loss_of_a_trainer_is_tried() -> None:
    assert found_by(None, trainer=Own) == Found()
    found = found_by(None, trainer=Spread)
    assert (found.term, found.crosses) == ("spread", False)
    assert found.loss is not None


def test_what_cannot_be_tried_says_nothing() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("boom")

    assert found_by(broken) == found_by(None) == found_by(MSELoss()) == Found()
