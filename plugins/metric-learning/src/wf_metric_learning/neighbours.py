"""Metrics of embeddings, by their nearest neighbours within the split."""

from __future__ import annotations

import abc

import torch
from torch import Tensor
from torch.nn import functional

from wf_base import Metric

CHUNK = 1024
"""Rows of the matrix of distances that are made at once."""


class Neighbours(Metric):
    """The base: each embedding of the split against all others of it.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def __init__(self, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with embeddings ``[N, D]`` and classes ``[N]``."""
        self.append("embeddings", functional.normalize(predictions) if self.normalize else predictions)
        self.append("classes", targets)

    def compute(self) -> Tensor:
        """The mean over the embeddings that are not the only one of their class, 0-d; NaN when there is none."""
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
        """How many neighbours are wanted, where a class has at most `most` others."""

    @abc.abstractmethod
    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """The score of each embedding.

        Args:
            same: bool ``[N, depth]``: whether each neighbour, the nearest first, is of the embedding's class.
            others: int64 ``[N]``: how many others there are of its class.
        """


class PrecisionAt1(Neighbours):
    """The share of embeddings whose nearest neighbour in the split is of their class.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def depth(self, most: int) -> int:
        """One."""
        return 1

    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """1 or 0."""
        return same[:, 0].to(torch.float32)


class MeanAveragePrecisionAtR(Neighbours):
    """The mean of precision at i over those of the R nearest neighbours that are of the class, i up to R.

    R is the number of others of the class. Source: Musgrave et al. 2020, A Metric Learning Reality Check,
    arXiv:2003.08505.

    Args:
        normalize: Scale each embedding to length 1 first, as most losses of embeddings do.
    """

    def depth(self, most: int) -> int:
        """As many as there are of the largest class."""
        return most

    def score(self, same: Tensor, others: Tensor) -> Tensor:
        """From 0 to 1."""
        places = torch.arange(1, same.shape[1] + 1, device=same.device)
        counted = same & (places <= others.unsqueeze(1))
        precision = counted.cumsum(1) / places
        return (precision * counted).sum(1) / others.clamp_min(1)
