"""Shared by the losses: the base class, and checks of options and shapes."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor, nn

from wf.errors import UsageError

Reduction = Literal["mean", "sum", "none"]


class Loss(nn.Module):
    """A loss with a reduction, called with ``(predictions, targets)``.

    Args:
        reduction: ``mean``, ``sum``, or ``none`` for one value per element.

    Raises:
        UsageError: For another reduction.
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise UsageError(f"loss option 'reduction' is '{reduction}'; choose from {', '.join(get_args(Reduction))}")
        self.reduction: Reduction = reduction

    def extra_repr(self) -> str:
        """Its options, shown when the module is printed."""
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def check_label_smoothing(label_smoothing: float) -> float:
    """Check the option, and return it.

    Raises:
        UsageError: If it is not from 0 to 1.
    """
    if not 0 <= label_smoothing <= 1:
        raise UsageError(f"loss option 'label_smoothing' is {label_smoothing}; it must be from 0 to 1")
    return label_smoothing


def check_weights(option: str, weights: list[float]) -> list[float]:
    """Check the weights, and return them.

    Raises:
        UsageError: If a weight is negative or not finite, or all are 0.
    """
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UsageError(f"loss option '{option}' is {weights}; give finite weights >= 0, not all of them 0")
    return weights


def num_counted(targets: Tensor, ignore_index: int) -> Tensor:
    """The number of class indices other than `ignore_index`, int64 and 0-d."""
    return (targets != ignore_index).sum()
