"""Metrics of embeddings, based on the nearest neighbours within the split."""

from __future__ import annotations

import abc

import torch
from torch import Tensor
from torch.nn import functional

from wf_base import Metric

CHUNK = 1024
"""Number of rows of the distance matrix that are computed at once."""


class Neighbours(Metric):
    """Base class: compares each embedding of the split with all others by Euclidean distance.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def __init__(self, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with embeddings ``[N, D]`` and class indices ``[N]``."""
        self.append("embeddings", functional.normalize(predictions) if self.normalize else predictions)
        self.append("classes", targets)

    def compute(self) -> Tensor:
        """The mean score of all embeddings that share their class with another one, 0-d; NaN without any."""
        embeddings, classes = self.values("embeddings"), self.values("classes")
        counts = (classes.unsqueeze(1) == classes.unique()).sum(0)
        others = (counts - 1)[torch.searchsorted(classes.unique(), classes)]
        depth = min(self.depth(int(others.max())), len(classes) - 1)
        scores = []
        for start in range(0, len(classes), CHUNK):
            rows = slice(start, start + CHUNK)
            distances = torch.cdist(embeddings[rows], embeddings)
            own = torch.arange(len(distances), device=distances.device)
            distances[own, own + start] = torch.inf
            nearest = distances.topk(max(depth, 1), largest=False).indices
            scores.append(self.score(classes[nearest] == classes[rows].unsqueeze(1), others[rows]))
        return torch.cat(scores)[others > 0].mean()

    @abc.abstractmethod
    def depth(self, most: int) -> int:
        """The number of neighbours to look at.

        Args:
            most: The size of the largest class, minus one.
        """

    @abc.abstractmethod
    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """The score of each embedding.

        Args:
            same: bool ``[N, depth]``: whether each neighbour, nearest first, has the embedding's class.
            others: int64 ``[N]``: the number of other embeddings of its class.
        """


class PrecisionAt1(Neighbours):
    """The share of embeddings whose nearest neighbour in the split has the same class.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def depth(self, most: int) -> int:
        """One."""
        return 1

    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """1 if the nearest neighbour has the same class, else 0; float32 ``[N]``."""
        return same[:, 0].to(torch.float32)


class MeanAveragePrecisionAtR(Neighbours):
    """Mean average precision at R, where R is the number of other embeddings of the class.

    For one embedding it is ``1/R * sum_i P(i)``, i from 1 to R: P(i) is the precision at i if the i-th nearest
    neighbour has the same class, else 0. Source: Musgrave et al. 2020, A Metric Learning Reality Check,
    arXiv:2003.08505.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def depth(self, most: int) -> int:
        """R of the largest class."""
        return most

    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """The average precision at R of each embedding, from 0 to 1; float ``[N]``."""
        places = torch.arange(1, same.shape[1] + 1, device=same.device)
        counted = same & (places <= others.unsqueeze(1))
        precision = counted.cumsum(1) / places
        return (precision * counted).sum(1) / others.clamp_min(1)
