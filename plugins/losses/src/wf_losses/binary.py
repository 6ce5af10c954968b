"""Losses for independent binary targets."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf_base.tensors import check_shapes
from wf_losses.common import Loss


class BCELoss(Loss):
    """Binary cross-entropy of probabilities: `torch.nn.functional.binary_cross_entropy`.

    `bce-logits` is numerically stable and works under autocast.

    Args:
        reduction: ``mean`` and ``sum`` are over all elements; ``none`` gives one value per element.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of probabilities in [0, 1] and float targets of one shape, ``[N]`` or ``[N, C]``.

        Raises:
            UsageError: When their shapes differ.
        """
        check_shapes(predictions, targets, "loss")
        return F.binary_cross_entropy(predictions, targets, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """Sigmoid and binary cross-entropy combined: `torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        reduction: ``mean`` and ``sum`` are over all elements; ``none`` gives one value per element.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits and float targets of one shape, ``[N]`` or ``[N, C]``.

        Raises:
            UsageError: When their shapes differ.
        """
        check_shapes(predictions, targets, "loss")
        return F.binary_cross_entropy_with_logits(predictions, targets, reduction=self.reduction)
