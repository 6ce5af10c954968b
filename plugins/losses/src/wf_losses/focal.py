"""Focal loss, over a softmax or over independent sigmoids."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf.errors import UsageError
from wf_base.tensors import check_shapes, num_as_tensor
from wf_losses.common import (
    Loss,
    Reduction,
    check_label_smoothing,
    check_weights,
    num_counted,
)


class FocalLoss(Loss):
    """Cross-entropy times ``alpha_t * (1 - p_t) ** gamma``, where p_t is the probability of the target.

    The targets decide the form: int64 class indices use a softmax over the classes, floating-point targets an
    independent sigmoid per element. Half precision is computed and returned in float32. Source: Lin et al. 2017, Focal
    Loss for Dense Object Detection, arXiv:1708.02002, equations 4 and 5.

    Args:
        gamma: How strongly well-classified targets are down-weighted, at least 0; 0 gives
            cross-entropy.
        alpha: Factors for rare classes. Class indices take a list with one per class; floating targets one number from
            0 to 1 for ones, zeros get ``1 - alpha`` (0.25 in the paper). By default there are none.
        label_smoothing: Fraction of the target that is spread evenly over the classes in the cross-entropy, from 0 to
            1; p_t remains that of the target itself.
        ignore_index: Class indices with this value are ignored; floating-point targets are never ignored.
        reduction: ``mean`` divides by the number of targets that are not ignored, whatever `alpha` is (NaN if
            there is none, as in torch); ``sum``; ``none`` gives one value per target.

    Raises:
        UsageError: For an option out of range.
    """

    weight: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | list[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        if not (math.isfinite(gamma) and gamma >= 0):
            raise UsageError(f"loss option 'gamma' is {gamma}; it must be a finite number of at least 0")
        if isinstance(alpha, (int, float)) and not 0 <= alpha <= 1:
            raise UsageError(f"loss option 'alpha' is {alpha}; one number must be from 0 to 1, or give one per class")
        self.gamma, self.alpha, self.ignore_index = gamma, alpha, ignore_index
        self.label_smoothing = check_label_smoothing(label_smoothing)
        weight = torch.tensor(check_weights("alpha", alpha)) if isinstance(alpha, list) else None
        self.register_buffer("weight", weight, persistent=False)  # recomputed from an option in every run

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[N, C, ...]`` and int64 class indices ``[N, ...]``, or floats of the logits' shape.

        Raises:
            UsageError: When `alpha` does not fit the targets, or floating targets have another shape.
        """
        if predictions.dtype in (torch.float16, torch.bfloat16):
            predictions = predictions.float()
        form = self._sigmoid if targets.is_floating_point() else self._softmax
        loss = form(predictions, targets)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.sum() / self.total_weight(targets)

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean: the number of targets that are not ignored, int64 and 0-d."""
        if targets.is_floating_point():
            return num_as_tensor(targets.numel(), like=targets)
        return num_counted(targets, self.ignore_index)

    def _softmax(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = self._class_weight(logits)
        nll = F.cross_entropy(logits, targets, ignore_index=self.ignore_index, reduction="none")
        entropy = nll
        if weight is not None or self.label_smoothing:
            entropy = F.cross_entropy(
                logits,
                targets,
                weight=weight,
                ignore_index=self.ignore_index,
                reduction="none",
                label_smoothing=self.label_smoothing,
            )
        return self._factor(-torch.expm1(-nll)) * entropy

    def _sigmoid(self, logits: Tensor, targets: Tensor) -> Tensor:
        check_shapes(logits, targets, "loss")
        if self.weight is not None:
            raise UsageError(
                f"loss option 'alpha' is a list of {len(self.weight)}, but binary and multilabel targets "
                "take one number\n  give the factor of the ones, for example 0.25"
            )
        targets = targets.to(logits.dtype)
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else targets
        entropy = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        if isinstance(self.alpha, (int, float)):
            entropy = entropy * (self.alpha * targets + (1 - self.alpha) * (1 - targets))
        return self._factor(torch.sigmoid(-logits) * targets + torch.sigmoid(logits) * (1 - targets)) * entropy

    def _factor(self, missing: Tensor) -> Tensor:
        # For a gamma below 1 the slope of the power is infinite at 0, and infinity times 0 is NaN.
        return missing.clamp_min(torch.finfo(missing.dtype).tiny) ** self.gamma

    def _class_weight(self, logits: Tensor) -> Tensor | None:
        if isinstance(self.alpha, (int, float)):
            raise UsageError(
                f"loss option 'alpha' is the number {self.alpha}, but class indices take a list with one "
                f"factor per class\n  give {logits.shape[1]} numbers, or use weighted-ce for inverse class frequency"
            )
        if self.weight is None:
            return None
        if len(self.weight) != logits.shape[1]:
            raise UsageError(
                f"loss option 'alpha' has {len(self.weight)} factors, but there are {logits.shape[1]} classes\n"
                "  give one factor per class"
            )
        return self.weight.to(logits.dtype)
