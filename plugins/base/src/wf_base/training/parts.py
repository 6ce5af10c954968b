"""Several models as one module: for checkpoints, evaluation and the device."""

from __future__ import annotations

from typing import Any

from torch import nn


class Parts(nn.ModuleDict):
    """The models of a run by their scopes: ``parts["generator"]``. Calling it calls the first model.

    Args:
        models: The models by name.
    """

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The outputs of the first model."""
        return next(iter(self.values()))(*inputs, **named)
