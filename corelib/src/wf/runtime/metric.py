"""The base of metrics: counts and sums that stay on the device and are read once an evaluation."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor

from wf.protocols import Strategy


class Metric(abc.ABC):
    """Accumulates over the batches of a split.

    `update` calls `add` for what is summed and `append` for what must be kept sample by sample; `compute` reads
    `total(name)` and `values(name)`. Nothing waits for the device until the evaluator reads what `compute` gave.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._lists: dict[str, list[Tensor]] = {}

    @abc.abstractmethod
    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in one batch; predictions in the form that its `MetricTraits` ask for."""

    @abc.abstractmethod
    def compute(self) -> Tensor | Mapping[str, Tensor]:
        """The figure over everything taken in: a scalar, a tensor with one figure a class, or several by name."""

    def add(self, name: str, value: Tensor) -> None:
        """Add `value` to the running sum `name`."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def append(self, name: str, values: Tensor) -> None:
        """Keep `values` ``[N, ...]`` of this batch under `name`."""
        self._lists.setdefault(name, []).append(values)

    def total(self, name: str) -> Tensor:
        """The running sum `name`."""
        return self._sums[name]

    def values(self, name: str) -> Tensor:
        """All kept values of `name`, ``[N in all, ...]``."""
        return torch.cat(self._lists[name])

    def reset(self) -> None:
        """Forget everything."""
        self._sums, self._lists = {}, {}

    def sync(self, strategy: Strategy) -> None:
        """Make every process hold what all of them took in."""
        names = list(self._sums)
        self._sums = dict(zip(names, strategy.sum([self._sums[name] for name in names]), strict=True))
        self._lists = {name: [strategy.gather(torch.cat(kept))] for name, kept in self._lists.items()}
