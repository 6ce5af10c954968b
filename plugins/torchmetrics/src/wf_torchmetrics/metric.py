"""A metric of torchmetrics as a metric of wf."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric as TheirMetric

from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import Metric
from wf_base.task import TaskRuntime
from wf_torchmetrics.members import DEFAULTS, Member, member
from wf_torchmetrics.plugin import JUDGES

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"
"""The library's words for its tasks."""

Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class TorchMetric(Metric):
    """A metric of torchmetrics over a whole split.

    Every evaluation begins with `reset`, and with several processes `sync` gathers its state with the run's strategy;
    the library's own synchronization is off.

    Args:
        metric: The library's metric, on its device.
        prepare: Converts a batch's predictions and targets to the metric's inputs.
        figures: The names of its figures, if it returns a tuple.
        columns: The names along the last axis of its result, if they are separate figures.
    """

    def __init__(
        self, metric: TheirMetric, prepare: Prepare, figures: Sequence[str] = (), columns: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.metric, self._prepare = metric, prepare
        self._figures, self._columns = tuple(figures), tuple(columns)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with one batch."""
        self.metric.update(*self._prepare(predictions, targets))

    def compute(self) -> Tensor | Mapping[str, Tensor]:
        """The figure or figures over all batches."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse invariant checks")  # of torch, about what the library does within
            result = self.metric.compute()
        if self._columns:
            return dict(zip(self._columns, result.unbind(-1), strict=True))
        return dict(zip(self._figures, result, strict=True)) if isinstance(result, tuple) else result

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()

    def sync(self, strategy: Strategy) -> None:
        """Combine the states of all processes, so that each holds them all."""
        if strategy.world_size == 1:
            return

        def gather(tensor: Tensor, group: Any = None) -> list[Tensor]:
            rows = tensor if tensor.ndim else tensor.unsqueeze(0)
            lengths = strategy.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
            parts = strategy.gather(rows).split(lengths)
            return [part if tensor.ndim else part[0] for part in parts]

        self.metric.sync(dist_sync_fn=gather, distributed_available=lambda: True)


def build(
    name: str,
    *,
    device: torch.device,
    outputs: TaskRuntime | None = None,
    num_classes: int | None = None,
    num_outputs: int | None = None,
    task: str | None = None,
    ignore_index: int | None = DEFAULTS["ignore_index"],
    **options: Any,
) -> TorchMetric:
    """A metric of torchmetrics.

    Args:
        name: Its class, such as ``Accuracy``.
        device: The device of its state.
        outputs: The task, for the form of the dataset's targets.
        num_classes: The number of classes, or of labels.
        num_outputs: The number of target columns, for a regression.
        task: How class indices are judged.
        ignore_index: Targets with this value are ignored.
        options: The options of `described`.

    Raises:
        UsageError: For an option out of range, or a task that it does not judge.
    """
    one = member(name)
    owner = f"metric 'torchmetrics/{name}'"
    chosen = _task(one, outputs, num_classes, task, owner)
    known: dict[str, Any] = {"task": chosen, "num_classes": num_classes, "num_labels": num_classes}
    known |= {"num_outputs": num_outputs, "ignore_index": ignore_index}
    filled = {key: value for key, value in known.items() if key in one.theirs}
    if one.name in _AVERAGED:
        filled["num_outputs"] = 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will save all targets")
            metric = one.kind(**filled, **options, sync_on_compute=False)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{owner}: {error}") from error
    metric = metric.to(device)
    if one.judges == "numbers" and device.type != "mps":
        metric = metric.set_dtype(torch.float64)
    return TorchMetric(metric, _preparation(one, known), one.figures, one.columns)


_AVERAGED = ("MeanAbsoluteError", "MeanSquaredError", "NormalizedRootMeanSquaredError")
"""Metrics with one value for all columns, unless given their number."""


def _task(one: Member, outputs: TaskRuntime | None, num_classes: int | None, task: str | None, owner: str) -> str:
    """``binary``, ``multiclass`` or ``multilabel``; empty without classes."""
    if not one.task:
        return ""
    assert outputs is not None
    usual = _usual(outputs.targets)
    chosen = (task or usual) if one.task == "any" else one.task
    if task and outputs.targets not in JUDGES["chances"].targets and task != usual:
        raise UsageError(f"{owner}: the dataset has {outputs.targets} targets, which it judges as {usual}, not {task}")
    if chosen == BINARY and num_classes != 2:
        raise UsageError(
            f"{owner}: it judges two classes, the dataset has {num_classes}\n  use torchmetrics/"
            f"{one.name.replace('Binary', 'Multiclass') if one.task != 'any' else one.name + ' without task'}"
        )
    return chosen


def _usual(targets: str | None) -> str:
    """The library's task for targets of a form, by what its metrics of each task judge."""
    if targets in JUDGES["labels"].targets:
        return MULTILABEL
    return BINARY if targets in {*JUDGES["binary"].targets} - {*JUDGES["classes"].targets} else MULTICLASS


def _preparation(one: Member, known: Mapping[str, Any]) -> Prepare:
    if one.task:
        return {BINARY: _binary, MULTICLASS: _as_is, MULTILABEL: _labels}[known["task"]]
    if one.judges == "masks":
        return partial(_masks, num_classes=known["num_classes"], ignore_index=known["ignore_index"])
    if one.leaves_out:
        return partial(_counted, ignore_index=known["ignore_index"])
    return _numbers if known["num_outputs"] != 1 or one.name == "CosineSimilarity" else _column


def _as_is(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return predictions, targets


def _binary(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of the second of two classes."""
    return predictions[:, 1], targets


def _labels(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return predictions, targets.to(torch.int64)


def _counted(predictions: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Without ignored samples."""
    counted = targets != ignore_index
    return predictions[counted], targets[counted]


def _masks(predictions: Tensor, targets: Tensor, num_classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """One-hot ``[N, C, H, W]``; ignored pixels belong to no class in either."""
    counted = targets != ignore_index

    def one_hot(labels: Tensor) -> Tensor:
        rows = functional.one_hot(torch.where(counted, labels, num_classes), num_classes + 1)
        return rows[..., :num_classes].movedim(-1, 1)

    return one_hot(predictions), one_hot(targets)


def _numbers(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, or in float32 on a device without float64."""
    dtype = torch.float32 if predictions.device.type == "mps" else torch.float64
    return predictions.to(dtype), targets.to(dtype)


def _column(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A single column as a vector."""
    wide_predictions, wide_targets = _numbers(predictions, targets)
    return wide_predictions.flatten(), wide_targets.flatten()
