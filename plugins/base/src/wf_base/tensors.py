"""Checks and conversions of tensors, shared by tasks, losses and metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from wf.errors import UsageError


def all_finite(tensor: Tensor) -> bool:
    """Whether all values are finite, in one pass: a sum with a term that is not finite is not finite."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    wide = tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor
    return bool(torch.isfinite(wide.sum())) or bool(torch.isfinite(wide).all())


def check_shapes(predictions: Tensor, targets: Tensor, kind: str) -> None:
    """Refuse shapes that torch would broadcast.

    Args:
        predictions: The predictions.
        targets: The targets.
        kind: The kind of the component that compares them, for messages.

    Raises:
        UsageError: When the two differ.
    """
    if predictions.shape != targets.shape:
        raise UsageError(
            f"predictions {list(predictions.shape)} and targets {list(targets.shape)} differ in shape\n"
            f"  this {kind} compares them element by element: give both the same shape"
        )


def num_as_tensor(num: int, like: Tensor) -> Tensor:
    """`num` as int64, 0-d, on the device of `like`, without making the host wait."""
    return torch.full((), num, dtype=torch.int64, device=like.device)
