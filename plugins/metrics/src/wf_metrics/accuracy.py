"""Overall accuracy."""

from __future__ import annotations

from torch import Tensor

from wf_base import Metric
from wf_base.tensors import check_shapes
from wf_metrics.common import wide


class Accuracy(Metric):
    """The fraction of correct predictions: of samples, of pixels in masks, of single labels for multilabel targets.

    Accuracy per class is `recall` with ``average = "none"``.

    Args:
        ignore_index: Targets with this value are ignored.
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with labels and targets of one shape: ``[N]``, ``[N, H, W]``, or 0/1 ``[N, C]``."""
        check_shapes(predictions, targets, "metric")
        counted = targets != self.ignore_index
        self.add("correct", ((predictions == targets) & counted).sum())
        self.add("count", counted.sum())

    def compute(self) -> Tensor:
        """The fraction, 0-d; NaN if nothing was counted."""
        return wide(self.total("correct")) / self.total("count")
