"""Models that are linear in their input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf_models.checks import FOR_SEQUENCES, wrong_shape


class LinearRegression(nn.Module):
    """A line, ``weights * x + bias``: inputs ``[N, 1]``, predictions ``[N, 1]``.

    Both parameters have shape ``[1]`` and are drawn from the standard normal distribution, first ``weights``, then
    ``bias``. A parameter with an initial value is not drawn.

    Args:
        input_shape: Shape of one sample; it must be one feature.
        num_outputs: Number of outputs per sample; it must be one.
        weight: Initial value of the slope; drawn if not given.
        bias: Initial value of the intercept; drawn if not given.

    Raises:
        UsageError: For more than one feature or output.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        weight: float | None = None,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        if tuple(input_shape) != (1,):
            raise wrong_shape("linear-regression", "samples of one feature [1]", input_shape)
        if num_outputs != 1:
            raise UsageError(
                f"model 'linear-regression' gives one number for a sample, but {num_outputs} are wanted\n"
                f"  models that give any number of outputs: {FOR_SEQUENCES}"
            )
        self.weights = nn.Parameter(_start(weight))
        self.bias = nn.Parameter(_start(bias))

    def forward(self, inputs: Tensor) -> Tensor:
        """The line at `inputs` ``[N, 1]``."""
        return self.weights * inputs + self.bias


def linear(input_shape: tuple[int, ...], num_outputs: int) -> nn.Sequential:
    """One linear layer over the flattened input: linear or, with a classification loss, logistic regression.

    Args:
        input_shape: Shape of one sample, any.
        num_outputs: Number of outputs per sample.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def _start(value: float | None) -> Tensor:
    return torch.randn(1) if value is None else torch.tensor([value], dtype=torch.get_default_dtype())
