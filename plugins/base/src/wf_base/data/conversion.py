"""Converts values of samples: bytes to floats, float64 to the default precision, labels to class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf_base import tree
from wf_base.tree import Tree


def as_float(inputs: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], the arithmetic of torchvision's ToTensor; everything else is unchanged.

    Dividing by a Python number on CUDA would multiply by the reciprocal, which gives other bits; this does not.
    """
    if inputs.dtype != torch.uint8:
        return inputs
    whole = 255 if inputs.device.type == "cpu" else torch.full((), 255.0, device=inputs.device)
    return inputs.to(torch.float32).div_(whole)


def floats(inputs: Tree) -> Tree:
    """Inputs as the model takes them: uint8 images as floats.

    In a tree, only leaves ``[N, C, H, W]`` are images, and in its `Rows` only ``[C, H, W]``.
    """
    if isinstance(inputs, Tensor):
        return as_float(inputs)
    if isinstance(inputs, tree.Rows):
        return tree.Rows(floats(row) if isinstance(row, Tensor) else _images(row, 3) for row in inputs)
    return _images(inputs, 4)


def _images(inputs: Tree, dims: int) -> Tree:
    """A tree in which uint8 leaves with at least `dims` dimensions are images."""
    if isinstance(inputs, tree.Rows):
        return tree.Rows(_images(row, dims - 1) for row in inputs)
    if isinstance(inputs, Mapping):
        return {key: _images(one, dims) for key, one in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tree.like(inputs, [_images(one, dims) for one in inputs])
    return as_float(inputs) if isinstance(inputs, Tensor) and inputs.ndim >= dims else inputs


def as_default(tensor: Tensor) -> Tensor:
    """float64 tensors, as made from NumPy arrays and Python numbers, in torch's default precision; everything else is
    unchanged."""
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def class_index(labels: Sequence[Any]) -> tuple[Tensor, list[str]]:
    """Labels of any kind as class indices.

    Args:
        labels: One per sample: strings or numbers.

    Returns:
        int64 ``[N]`` and the class names, sorted (as numbers where all are).
    """
    values = sorted(set(labels))
    index = {value: position for position, value in enumerate(values)}
    return torch.tensor([index[label] for label in labels], dtype=torch.int64), [str(value) for value in values]
