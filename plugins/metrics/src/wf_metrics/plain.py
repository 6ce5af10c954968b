"""Metrics in plain PyTorch, which `wf export --to script` writes into scripts: functions of labels and targets."""

from __future__ import annotations

from torch import Tensor


def accuracy(labels: Tensor, targets: Tensor) -> float:
    """The fraction of correct labels."""
    return (labels == targets).double().mean().item()
