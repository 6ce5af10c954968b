"""The loss over tokens."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf.errors import UsageError


class TokenCrossEntropy(nn.Module):
    """Softmax cross-entropy, the mean over tokens: `torch.nn.functional.cross_entropy`.

    Args:
        label_smoothing: Share of the target that is spread evenly over the vocabulary, from 0 to 1.
        ignore_index: Targets of this value are ignored.

    Raises:
        UsageError: For a `label_smoothing` out of range.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise UsageError(f"loss option 'label_smoothing' is {label_smoothing}; it must be from 0 to 1")
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss of scores ``[N, T, V]`` and int64 tokens ``[N, T]``.

        Raises:
            UsageError: For other shapes.
        """
        if scores.ndim != 3 or scores.shape[:2] != targets.shape:
            raise UsageError(
                f"scores {list(scores.shape)} and targets {list(targets.shape)} are not [N, T, V] and [N, T]: a score "
                "for each token of the vocabulary at each position"
            )
        return F.cross_entropy(
            scores.flatten(0, -2),
            targets.flatten(),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def total_weight(self, targets: Tensor) -> Tensor:
        """The number of tokens that are not ignored, int64 and 0-d."""
        return (targets != self.ignore_index).sum()
