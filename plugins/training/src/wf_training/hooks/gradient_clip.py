"""Gradient clipping."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import Parameter

from wf import Hook, Loop
from wf.errors import UsageError


class GradientClip(Hook):
    """Limits the gradients between the backward pass and the update, without waiting for the device.

    By norm (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"): all gradients are scaled
    by ``max_norm / norm`` if their common norm is larger than `max_norm`, which keeps the direction. By value: each
    element is clipped to [-max_norm, max_norm], which changes the direction.

    Args:
        params: The parameters whose gradients are clipped.
        max_norm: The largest norm of all gradients together; with ``by = "value"`` the largest absolute element.
        norm_type: The norm's order, 2 for Euclidean; inf takes the largest absolute element.
        by: Whether all gradients are scaled together (``norm``) or each element is clipped (``value``).

    Raises:
        UsageError: For a `max_norm` or `norm_type` that is not positive.
    """

    def __init__(
        self,
        params: list[Parameter],
        max_norm: float = 1.0,
        norm_type: float = 2.0,
        by: Literal["norm", "value"] = "norm",
    ) -> None:
        for name, value in (("max_norm", max_norm), ("norm_type", norm_type)):
            if not value > 0:
                raise UsageError(f"gradient-clip: {name} is {value:g}; it must be larger than 0")
        if by not in ("norm", "value"):
            raise UsageError(f"gradient-clip: by is '{by}'; choose from norm, value")
        self.params, self.max_norm, self.norm_type, self.by = list(params), max_norm, norm_type, by

    def on_gradients_ready(self, run: Loop) -> None:
        """Clip."""
        if self.by == "norm":
            torch.nn.utils.clip_grad_norm_(self.params, self.max_norm, self.norm_type)
        else:
            torch.nn.utils.clip_grad_value_(self.params, self.max_norm)
