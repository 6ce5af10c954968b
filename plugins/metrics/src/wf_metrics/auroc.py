"""The area under the ROC curve."""

from __future__ import annotations

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import Metric
from wf_metrics.common import wide


class AUROC(Metric):
    """The area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    It is exact: all scores are kept and ranked (Hanley and McNeil 1982). With two classes it is the area of class 1;
    with more, and for multilabel, the mean over the classes, each against the rest. If a class has no positives or no
    negatives its area is undefined and the result is NaN, as in scikit-learn. A NaN among the scores gives NaN.

    Args:
        ignore_index: Targets with this value are ignored.
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with probabilities ``[N, C]`` and int64 class indices ``[N]`` or multilabel float targets ``[N, C]``.

        Raises:
            UsageError: For other shapes.
        """
        wanted = predictions.shape if targets.is_floating_point() else predictions.shape[:1]
        if predictions.ndim != 2 or targets.shape != wanted:
            raise UsageError(
                f"auroc takes probabilities [N, C] and class indices [N] or multilabel targets [N, C], "
                f"not {list(predictions.shape)} and {list(targets.shape)}"
            )
        self.append("scores", predictions)
        self.append("targets", targets)

    def compute(self) -> Tensor:
        """The area, 0-d."""
        scores, targets = self.values("scores"), self.values("targets")
        if targets.is_floating_point():
            areas = [self._area(scores[:, label], targets[:, label], 1) for label in range(scores.shape[1])]
        else:
            classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
            areas = [self._area(scores[:, label], targets, label) for label in classes]
        return torch.stack(areas).mean()

    def _area(self, scores: Tensor, targets: Tensor, positive: int) -> Tensor:
        is_positive = targets == positive
        return area_under_roc(scores, is_positive, ~is_positive & (targets != self.ignore_index))


def area_under_roc(scores: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """The fraction of positive-negative pairs in which the positive scores higher, ties counting half.

    Args:
        scores: Float ``[N]``.
        positives: Bool ``[N]``.
        negatives: Bool ``[N]``; samples that are neither are ignored.

    Returns:
        0-d; NaN if there is no pair or a score is NaN.
    """
    ranked, order = scores.sort()
    is_positive, is_negative = positives[order], negatives[order]
    up_to = torch.cat([is_negative.new_zeros(1, dtype=torch.int64), is_negative.cumsum(0)])
    below = up_to[torch.searchsorted(ranked, ranked)]
    not_above = up_to[torch.searchsorted(ranked, ranked, right=True)]
    twice_won = (is_positive * (below + not_above)).sum()
    area = wide(twice_won) / (2 * is_positive.sum() * is_negative.sum())
    return torch.where(scores.isnan().any(), torch.nan, area)
