"""Perplexity."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf_base import Metric


class Perplexity(Metric):
    """e to the mean negative log likelihood of a token, over all tokens of the split.

    Args:
        ignore_index: Targets of this value are left out.
    """

    figures: ClassVar[dict[str, bool | None]] = {"": False}

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self._ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in scores ``[N, T, V]`` and int64 tokens ``[N, T]``."""
        scores, wanted = predictions.flatten(0, -2), targets.flatten()
        each = F.cross_entropy(scores.float(), wanted, ignore_index=self._ignore_index, reduction="none")
        self.add("sum", each.double().sum())
        self.add("count", (wanted != self._ignore_index).sum())

    def compute(self) -> Tensor:
        """The perplexity, 0-d."""
        return (self.total("sum") / self.total("count")).exp()
