"""Losses of numbers against numbers."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf_base.tensors import check_shapes
from wf_losses.common import Loss


class L1Loss(Loss):
    """Absolute differences: `torch.nn.functional.l1_loss`.

    Args:
        reduction: ``mean`` and ``sum`` are over all elements; ``none`` gives one value per element.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of float predictions and targets of one shape, ``[N, K]``.

        Raises:
            UsageError: When their shapes differ.
        """
        check_shapes(predictions, targets, "loss")
        return F.l1_loss(predictions, targets, reduction=self.reduction)


class MSELoss(Loss):
    """Squared differences: `torch.nn.functional.mse_loss`.

    Args:
        reduction: ``mean`` and ``sum`` are over all elements; ``none`` gives one value per element.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of float predictions and targets of one shape, ``[N, K]``.

        Raises:
            UsageError: When their shapes differ.
        """
        check_shapes(predictions, targets, "loss")
        return F.mse_loss(predictions, targets, reduction=self.reduction)
