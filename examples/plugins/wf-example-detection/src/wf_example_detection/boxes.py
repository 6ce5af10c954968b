"""Boxes: x0, y0, x1, y1 in pixels, float ``[M, 4]``."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor


class Boxes(TypedDict):
    """The objects in an image."""

    boxes: Tensor
    """float ``[M, 4]``."""
    labels: Tensor
    """int64 ``[M]``: the class of each object."""


class Found(Boxes):
    """The detections in an image, highest score first."""

    scores: Tensor
    """float ``[M]``."""


def areas(boxes: Tensor) -> Tensor:
    """The area of each box."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each of M boxes with each of K others, ``[M, K]``."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    return shared / (areas(boxes)[:, None] + areas(others)[None] - shared)
