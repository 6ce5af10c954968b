"""Overall accuracy."""

from __future__ import annotations

from torch import Tensor

from wf_base import Metric
from wf_metrics.common import check_shapes, wide


class Accuracy(Metric):
    """The share of targets that are predicted right: of samples, of pixels of masks, of single labels of multilabel.

    Accuracy per class is `recall` with ``average = "none"``.

    Args:
        ignore_index: Targets of this value are left out.
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in labels and targets of one shape: ``[N]``, ``[N, H, W]``, or 0/1 ``[N, C]``."""
        check_shapes(predictions, targets)
        counted = targets != self.ignore_index
        self.add("correct", ((predictions == targets) & counted).sum())
        self.add("count", counted.sum())

    def compute(self) -> Tensor:
        """The share, 0-d; NaN when nothing was counted."""
        return wide(self.total("correct")) / self.total("count")
