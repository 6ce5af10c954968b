"""The confusion matrix."""

from __future__ import annotations

from torch import Tensor

from wf_base import Metric
from wf_base.tensors import check_shapes
from wf_metrics.common import histogram


class ConfusionMatrix(Metric):
    """How many targets of each class are predicted as each class: rows are true classes, columns predicted ones.

    Args:
        num_classes: C, the number of classes.
        ignore_index: Targets with this value are ignored.
    """

    def __init__(self, num_classes: int, ignore_index: int = -100) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with int64 labels and targets of one shape, ``[N]`` or ``[N, H, W]``."""
        check_shapes(predictions, targets, "metric")
        pairs = targets * self.num_classes + predictions
        self.add("counts", histogram(pairs, targets != self.ignore_index, self.num_classes**2))

    def compute(self) -> Tensor:
        """The counts, int64 ``[C, C]``."""
        return self.total("counts").reshape(self.num_classes, self.num_classes)
