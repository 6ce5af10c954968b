"""A custom trainer in a single file: wf run ... --trainer examples/by_hand.py:HandGradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf_base import Batch


class HandGradient:
    """Gradient descent on the mean squared error of a line, ``weights * x + bias``, without autograd.

    Args:
        model: A model whose only parameters are `weights` and `bias`, such as `linear-regression`.
        lr: Learning rate.

    Raises:
        UsageError: If the model has other parameters.
    """

    def __init__(self, model: nn.Module, lr: float = 0.01) -> None:
        found = dict(model.named_parameters())
        if set(found) != {"weights", "bias"}:
            raise UsageError(
                f"this trainer needs a model with the parameters weights and bias, not {', '.join(found)}\n"
                "  try --model linear-regression"
            )
        self.weights, self.bias, self.lr = found["weights"], found["bias"], lr

    @torch.no_grad()
    def train_step(self, batch: Batch) -> Tensor:
        """Make one update from ``[N, 1]`` inputs and targets; returns the loss before it."""
        error = self.weights * batch.inputs + self.bias - batch.targets
        self.weights.sub_(self.lr * 2 * (error * batch.inputs).mean())
        self.bias.sub_(self.lr * 2 * error.mean())
        return error.square().mean()
