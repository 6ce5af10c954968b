"""The learning rate in the records."""

from __future__ import annotations

from typing import Any

import torch

from wf import Epochs, Loop
from wf_tracking.learning_rate_log import LearningRateLog


class Trainer:
    """Halves its optimizer's learning rates with every step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def train_step(self, batch: Any) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * 0.5
        return 1.0


class Records:
    """Keeps the records."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        self.kept.append(record)


def logged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    optimizer, records = torch.optim.SGD(groups), Records()
    data = [(torch.zeros(1), torch.zeros(1))] * 2
    Loop(Trainer(optimizer), hooks=[LearningRateLog(optimizer), records], log_every=1).run(data, Epochs(1))
    return [{name: value for name, value in record.items() if name.startswith("lr")} for record in records.kept]


def test_one_group() -> None:
    assert logged([{"params": [torch.zeros(1)], "lr": 0.4}]) == [{"lr": 0.2}, {"lr": 0.1}]


def test_several_groups_and_a_rate_that_is_a_tensor() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": 0.5}, {"params": [torch.zeros(1)], "lr": torch.tensor(2.0)}]
    records = logged(groups)
    assert records == [{"lr/0": 0.25, "lr/1": 1.0}, {"lr/0": 0.125, "lr/1": 0.5}]
    assert all(type(value) is float for value in records[0].values())


def test_a_group_without_a_rate_adds_nothing() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=0.5)
    del optimizer.param_groups[0]["lr"]
    record: dict[str, Any] = {}
    loop = Loop(Trainer(optimizer))
    LearningRateLog(optimizer).on_log(loop, record)
    optimizer.param_groups[1]["lr"] = None
    LearningRateLog(optimizer).on_log(loop, record)
    assert record == {"lr/1": 0.5}
