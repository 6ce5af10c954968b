"""Shared by the metrics; nothing here makes the host wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, or in float32 on devices without it."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def histogram(index: Tensor, counted: Tensor, num_bins: int) -> Tensor:
    """How often each of 0 to ``num_bins - 1`` is in `index` where `counted`, int64 ``[num_bins]``.

    `torch.bincount` would make the host wait for the largest value.
    """
    index = torch.where(counted, index, num_bins).flatten()
    bins = torch.zeros(num_bins + 1, dtype=torch.int64, device=index.device)
    return bins.scatter_add_(0, index, torch.ones_like(index))[:num_bins]
