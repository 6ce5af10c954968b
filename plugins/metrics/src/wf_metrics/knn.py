"""Nearest neighbours of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_base import Metric

ROWS = 1024
"""Embeddings that are compared with all others at a time."""


class KNN(Metric):
    """Accuracy of the k nearest neighbours: whether the most frequent class among them is that of the sample.

    The neighbours are the other samples of the same split, by cosine similarity. Of classes that are equally frequent
    the one with the smallest index counts. It judges embeddings, also those that were learned without labels.

    Args:
        k: The number of neighbours, at least 1; of fewer other samples all of them.

    Raises:
        UsageError: For a `k` below 1.
    """

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        if k < 1:
            raise UsageError(f"knn: k is {k}; it must be at least 1")
        self.k = k

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with embeddings ``[N, D]`` and int64 class indices ``[N]``.

        Raises:
            UsageError: For other shapes.
        """
        if predictions.ndim != 2 or targets.shape != predictions.shape[:1]:
            raise UsageError(
                f"knn takes embeddings [N, D] and class indices [N], not {list(predictions.shape)} and "
                f"{list(targets.shape)}"
            )
        self.append("embeddings", predictions)
        self.append("targets", targets)

    def compute(self) -> Tensor:
        """The accuracy, 0-d; NaN for a single sample."""
        rows, targets = functional.normalize(self.values("embeddings").float(), dim=1), self.values("targets")
        num, k = len(rows), min(self.k, len(rows) - 1)
        if k < 1:
            return rows.new_tensor(float("nan"))
        right = []
        for first in range(0, num, ROWS):
            part = torch.arange(first, min(first + ROWS, num), device=rows.device)
            scores = rows[part] @ rows.T
            scores[part - first, part] = float("-inf")
            right.append(_most_frequent(targets[scores.topk(k, dim=1).indices]) == targets[part])
        return torch.cat(right).float().mean()


def _most_frequent(classes: Tensor) -> Tensor:
    """The most frequent class in each row of ``[N, k]``, the smallest one of a tie. The host reads nothing."""
    votes = (classes.unsqueeze(2) == classes.unsqueeze(1)).sum(dim=2)
    most = votes == votes.max(dim=1, keepdim=True).values
    return classes.masked_fill(~most, torch.iinfo(classes.dtype).max).min(dim=1).values
