"""The memory format of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def lay_out(model: nn.Module) -> None:
    """Convert weights ``[O, I, H, W]``, and the images that the model is called with, to `torch.channels_last`.

    It is idempotent, and changes neither values nor the names in the ``state_dict``.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if _laid_out not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_laid_out)


def _laid_out(_model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_channels_last(one) for one in inputs)


def _channels_last(value: Any) -> Any:
    image = isinstance(value, Tensor) and value.ndim == 4
    return value.contiguous(memory_format=torch.channels_last) if image else value
