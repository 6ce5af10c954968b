"""The base of metrics: counts and sums that stay on the device and are read once an evaluation."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from wf.engine.figures import declared
from wf.errors import UsageError
from wf.protocols import Strategy


class Metric(abc.ABC):
    """Accumulates over the batches of a split.

    `update` calls `add` for sums and `append` for values that must be kept per sample; `compute` reads `total(name)`
    and `values(name)`. Nothing waits for the device until the evaluator reads the result of `compute`.

    A metric that must know which samples it judges has ``update_samples(predictions, targets, sample_ids, split)``,
    which is called instead of `update`; `sample_ids` are the batch's.
    """

    figures: ClassVar[Mapping[str, bool | None] | None] = None
    """The figures that `compute` gives by name, each with whether a larger one is better, None for unknown; a metric
    with one figure has ``{"": True}``. None if undeclared: if a run decides by one of them, two batches are then
    evaluated first."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._lists: dict[str, list[Tensor]] = {}

    @abc.abstractmethod
    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with one batch; predictions in the form that its `MetricTraits` ask for."""

    @abc.abstractmethod
    def compute(self) -> Tensor | Mapping[str, Tensor]:
        """The figure over all batches: a scalar, a tensor with one value per class, or a dict of several.

        In a dict, ``low`` is recorded as ``METRIC-low``, ``/50`` as ``METRIC/50``, and an empty key as ``METRIC``.
        """

    def add(self, name: str, value: Tensor | float) -> None:
        """Add `value` to the running sum `name`, which is a tensor."""
        if not isinstance(value, Tensor):
            value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def append(self, name: str, values: Tensor) -> None:
        """Keep `values` ``[N, ...]`` of this batch under `name`."""
        self._lists.setdefault(name, []).append(values)

    def total(self, name: str) -> Tensor:
        """The running sum `name`."""
        return self._sums[name]

    def values(self, name: str) -> Tensor:
        """All kept values of `name`, ``[N, ...]`` for all N samples so far."""
        return torch.cat(self._lists[name])

    def reset(self) -> None:
        """Forget everything."""
        self._sums, self._lists = {}, {}

    def sync(self, strategy: Strategy) -> None:
        """Combine the states of all processes, so that each holds them all."""
        names = list(self._sums)
        self._sums = dict(zip(names, strategy.sum([self._sums[name] for name in names]), strict=True))
        self._lists = {name: [strategy.gather(torch.cat(kept))] for name, kept in self._lists.items()}


class _Own:
    """Adapts a metric that does not derive from `Metric` for the evaluator.

    A metric without `reset` is replaced by a fresh copy.
    """

    def __init__(self, made: Any) -> None:
        self._made, self._now = made, None if hasattr(made, "reset") else copy.deepcopy(made)
        self.figures = declared(made)

    def reset(self) -> None:
        if self._now is None:
            self._made.reset()
        else:
            self._now = copy.deepcopy(self._made)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        (self._made if self._now is None else self._now).update(predictions, targets)

    def __getattr__(self, name: str) -> Any:
        if name != "update_samples":
            raise AttributeError(name)
        return getattr(self._made if self._now is None else self._now, name)

    def compute(self) -> Any:
        return (self._made if self._now is None else self._now).compute()

    def sync(self, strategy: Strategy) -> None:
        if strategy.world_size > 1:
            self._made.sync(strategy)


def as_metric(made: Any, owner: str, world_size: int, larger_is_better: bool | None = None) -> Any:
    """A metric with all methods that the evaluator calls.

    Args:
        made: The metric; it needs `update` and `compute`. It is reset by `reset` if it has it, else replaced by a
            fresh copy.
        owner: Its name in messages.
        world_size: The number of processes; with several, its ``sync(strategy)`` combines their states.
        larger_is_better: The direction of its figures, from its traits.

    Raises:
        UsageError: For a metric that lacks a method.
    """
    metric = _used(made, owner, world_size)
    if metric.figures is None and larger_is_better is not None:
        metric.figures = dict.fromkeys(("", "*", "/*"), larger_is_better)
    return metric


def _used(made: Any, owner: str, world_size: int) -> Any:
    if isinstance(made, Metric):
        return made
    lacks = [name for name in ("update", "compute") if not callable(getattr(made, name, None))]
    if lacks:
        raise UsageError(
            f"{owner} is {type(made).__name__}, which is not a metric: it has no {' and no '.join(lacks)}\n"
            "  derive it from wf_base.Metric, or give it update(predictions, targets) and compute()"
        )
    if world_size > 1 and not all(callable(getattr(made, name, None)) for name in ("reset", "sync")):
        raise UsageError(
            f"{owner} cannot combine the results of several processes: it has no reset and sync\n"
            "  derive it from wf_base.Metric"
        )
    return _Own(made)
