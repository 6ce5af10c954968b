"""A loss as a plain function: its parameters after the first two are options."""

from __future__ import annotations

import math

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf.errors import UsageError


def log_cosh(predictions: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """The mean of ``scale^2 * log(cosh(error / scale))``.

    For small errors it is about half the squared error, for large ones about the absolute error times `scale`.

    Args:
        predictions: float ``[N, K]``.
        targets: float ``[N, K]``.
        scale: The error at which it changes from squared to absolute; above 0.

    Raises:
        UsageError: If the shapes differ or `scale` is not positive.
    """
    if predictions.shape != targets.shape:
        raise UsageError(f"predictions {list(predictions.shape)} and targets {list(targets.shape)} differ in shape")
    if scale <= 0:
        raise UsageError(f"loss option 'scale' is {scale}; it must be more than 0")
    error = (predictions - targets) / scale
    return scale**2 * (error + F.softplus(-2 * error) - math.log(2)).mean()  # log(cosh) without overflow
