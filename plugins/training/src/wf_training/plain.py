"""Hooks in plain PyTorch, which `wf export --to script` calls between the backward pass and the update."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn import Parameter


def clip_gradients(
    params: Iterable[Parameter], max_norm: float = 1.0, norm_type: float = 2.0, by: str = "norm"
) -> None:
    """Limit the norm of all gradients, or each of their elements."""
    if by == "norm":
        nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    else:
        nn.utils.clip_grad_value_(params, max_norm)
