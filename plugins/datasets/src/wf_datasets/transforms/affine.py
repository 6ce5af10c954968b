"""Transforms that scale and shift by given numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wf.errors import UsageError


class Scale:
    """Multiply by a factor and add an offset: ``inputs * factor + offset``.

    Args:
        factor: The factor.
        offset: The offset that is added afterwards.

    Raises:
        UsageError: For an option that is not finite.
    """

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        if not (math.isfinite(factor) and math.isfinite(offset)):
            raise UsageError(f"scale: factor {factor} and offset {offset} must be finite numbers")
        self.factor = factor
        self.offset = offset

    def __call__(self, inputs: Tensor) -> Tensor:
        """The inputs, scaled and shifted."""
        return inputs * self.factor + self.offset


class Normalize:
    """Subtract a given mean and divide by a given standard deviation, per channel.

    Args:
        mean: One per channel, for inputs from 0 to 1.
        std: One per channel, above 0.

    Raises:
        UsageError: If the two differ in length, are empty or hold an invalid number.
    """

    def __init__(self, mean: list[float], std: list[float]) -> None:
        if not mean or len(mean) != len(std):
            raise UsageError(f"normalize: {len(mean)} means and {len(std)} deviations; give one of each per channel")
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise UsageError(f"normalize: mean {mean} must be finite and std {std} finite and above 0")
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The inputs ``[N, C, ...]``, normalized.

        Raises:
            UsageError: If C is not the number of means.
        """
        if inputs.ndim < 2 or inputs.shape[1] != len(self._mean):
            raise UsageError(
                f"normalize: {len(self._mean)} means and deviations, but the inputs {list(inputs.shape)} have "
                f"{inputs.shape[1] if inputs.ndim > 1 else 0} channels"
            )
        if self._mean.device != inputs.device:  # once per run: a copy for every batch would make the device wait
            self._mean, self._std = self._mean.to(inputs.device), self._std.to(inputs.device)
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        return (inputs - self._mean.reshape(shape)) / self._std.reshape(shape)
