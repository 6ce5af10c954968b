"""Losses for one class out of several: negative log likelihood and cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base.tensors import num_as_tensor
from wf_losses.common import Loss, Reduction, check_label_smoothing, check_weights, num_counted


class NLLLoss(Loss):
    """Negative log likelihood of log-probabilities: `torch.nn.functional.nll_loss`.

    Args:
        ignore_index: Targets with this value are ignored.
        reduction: ``mean`` divides by the number of targets that are not ignored (NaN if there is none, as in
            torch); ``sum``; ``none`` gives one value per target.
    """

    def __init__(self, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.ignore_index = ignore_index

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of log-probabilities ``[N, C, ...]`` and int64 class indices ``[N, ...]``."""
        return F.nll_loss(predictions, targets, ignore_index=self.ignore_index, reduction=self.reduction)

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean: the number of targets that are not ignored, int64 and 0-d."""
        return num_counted(targets, self.ignore_index)


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy: `torch.nn.functional.cross_entropy`.

    Args:
        label_smoothing: Fraction of the target that is spread evenly over all classes, from 0 to 1.
        ignore_index: Targets with this value are ignored.
        reduction: ``mean`` divides by the number of targets that are not ignored (NaN if there is none, as in
            torch); ``sum``; ``none`` gives one value per target.

    Raises:
        UsageError: For a `label_smoothing` out of range.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.label_smoothing, self.ignore_index = check_label_smoothing(label_smoothing), ignore_index

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[N, C, ...]`` and class indices int64 ``[N, ...]`` or probabilities ``[N, C, ...]``."""
        return F.cross_entropy(
            predictions,
            targets,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean: the number of targets that are not ignored, int64 and 0-d."""
        if targets.is_floating_point():
            return num_as_tensor(targets.numel() // targets.shape[1], like=targets)
        return num_counted(targets, self.ignore_index)


class WeightedCrossEntropyLoss(Loss):
    """Softmax cross-entropy with one weight per class: `torch.nn.functional.cross_entropy` with `weight`.

    Args:
        class_counts: Train samples of each class; the default weights come from them.
        class_weights: One weight per class. By default inverse class frequency, ``N / (C * n_c)`` for class c with n_c
            of the N train samples: scikit-learn's ``class_weight="balanced"``, after King and Zeng (2001).
        label_smoothing: Fraction of the target that is spread evenly over all classes, from 0 to 1.
        ignore_index: Targets with this value are ignored.
        reduction: ``mean`` divides by the sum of the targets' class weights; ``sum``; ``none`` gives one
            value per target.

    Raises:
        UsageError: For another number of weights than classes, weights that are negative or not finite, or a
            `label_smoothing` out of range.
        DataError: If the weights come from the counts and a class has no train samples.
    """

    weight: Tensor

    def __init__(
        self,
        class_counts: list[int],
        class_weights: list[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.label_smoothing, self.ignore_index = check_label_smoothing(label_smoothing), ignore_index
        weights = balanced_weights(class_counts) if class_weights is None else class_weights
        if len(weights) != len(class_counts):
            raise UsageError(
                f"loss option 'class_weights' has {len(weights)} weights, but there are {len(class_counts)} classes\n"
                "  give one weight per class, or none for inverse class frequency"
            )
        weight = torch.tensor(check_weights("class_weights", weights), dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)  # recomputed from options and data in every run

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[N, C, ...]`` and int64 class indices ``[N, ...]``."""
        return F.cross_entropy(
            predictions,
            targets,
            weight=self.weight.to(predictions.dtype),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean: the sum of the class weights of targets that are not ignored, 0-d."""
        counted = targets != self.ignore_index
        return (self.weight[torch.where(counted, targets, 0)] * counted).sum()


def balanced_weights(class_counts: list[int]) -> list[float]:
    """Inverse class frequency, ``N / (C * n_c)``.

    Raises:
        DataError: Naming the classes without samples.
    """
    empty = [str(index) for index, count in enumerate(class_counts) if count == 0]
    if empty:
        raise DataError(
            f"no train samples of class {', '.join(empty)} (of {len(class_counts)}), so inverse class frequency "
            "gives it no weight\n  set class_weights, or split the data so that every class is in the train split"
        )
    total = sum(class_counts)
    return [total / (len(class_counts) * count) for count in class_counts]
