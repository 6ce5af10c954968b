"""Sums of metrics over batches and processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wf_base import Metric


class Right(Metric):
    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.add("right", int((predictions == targets).sum()))
        self.add("weight", float(len(targets)))

    def compute(self) -> Tensor:
        return self.total("right") / self.total("weight")


class Twice:
    """As if another process had the same sums."""

    def sum(self, tensors: list[Tensor]) -> list[Tensor]:
        return [2 * tensor.detach() for tensor in tensors]


def test_numbers_are_summed_over_batches_and_processes() -> None:
    metric, strategy = Right(), Twice()
    for right in (3, 1):
        metric.update(torch.ones(4), torch.arange(4) < right)
    one = metric.compute()
    metric.sync(strategy)  # type: ignore[arg-type]  # sums are all that it needs
    totals: list[Any] = [metric.total(name).tolist() for name in ("right", "weight")]
    assert totals == [8, 16.0]
    assert one == metric.compute() == 0.5
