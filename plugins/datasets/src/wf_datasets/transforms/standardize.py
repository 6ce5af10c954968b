"""Zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wf.errors import DataError, UsageError


class Standardize:
    """Subtract the mean and divide by the standard deviation of the train split.

    Per feature for vectors ``[N, F]`` and sequences ``[N, T, F]``, per channel for images ``[N, C, H, W]``. A feature
    that is constant in the train split becomes 0 there (its deviation is replaced by 1).
    """

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._std: Tensor | None = None

    def fit(self, inputs: Tensor) -> None:
        """Measure the train split.

        Args:
            inputs: float32 or float64 ``[N, F]``, ``[N, T, F]`` or ``[N, C, H, W]``.

        Raises:
            DataError: If an input is not finite.
            UsageError: For another shape.
        """
        axes = tuple(axis for axis in range(inputs.ndim) if axis != _feature_axis(inputs))
        std, mean = torch.std_mean(inputs, dim=axes, correction=0, keepdim=True)
        low, high = inputs.amin(axes, keepdim=True), inputs.amax(axes, keepdim=True)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise DataError("standardize: the train inputs hold values that are not finite or too large for float32")
        # Rounding gives a constant feature a tiny deviation and a mean that is slightly off.
        self._mean = torch.where(low == high, low, mean)
        self._std = torch.where((low == high) | (std == 0), 1.0, std)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The inputs, standardized.

        Raises:
            UsageError: If the number of features differs from the fitted one.
        """
        if self._mean is None or self._std is None:
            raise RuntimeError("standardize: fit() must be called before it is applied")
        if inputs.shape[_feature_axis(inputs)] != self._mean.numel():
            raise UsageError(
                f"standardize: measured on {self._mean.numel()} features, but the inputs are {list(inputs.shape)}"
            )
        if self._mean.device != inputs.device:  # once per run: a copy for every batch would make the device wait
            self._mean, self._std = self._mean.to(inputs.device), self._std.to(inputs.device)
        if self._mean.dtype == torch.float64 != inputs.dtype:  # measured before the inputs were converted to float32
            self._mean, self._std = self._mean.to(inputs.dtype), self._std.to(inputs.dtype)
        return (inputs - self._mean) / self._std

    def state_dict(self) -> dict[str, Tensor]:
        """Mean and standard deviation; empty before `fit`."""
        return {} if self._mean is None or self._std is None else {"mean": self._mean, "std": self._std}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        self._mean, self._std = state.get("mean"), state.get("std")


class StandardizeTargets:
    """Train on targets of zero mean and unit variance per column, measured on the train split.

    The loss gets standardized targets, and the model learns to predict these. Metrics and predictions are in the units
    of the dataset's targets.
    """

    of = "targets"

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._std: Tensor | None = None

    def fit(self, targets: Tensor) -> None:
        """Measure the train targets.

        Args:
            targets: Floating ``[N, K]``.

        Raises:
            DataError: If a target is not finite.
        """
        std, mean = torch.std_mean(targets.double(), dim=0, correction=0, keepdim=True)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise DataError("standardize-targets: the train targets hold values that are not finite")
        dtype = torch.get_default_dtype()
        constant = (targets == targets[:1]).all(0, keepdim=True) | (std.to(dtype) == 0)
        self._mean, self._std = mean.to(dtype), torch.where(constant, 1.0, std).to(dtype)

    def __call__(self, targets: Tensor) -> Tensor:
        """The targets, standardized."""
        mean, std = self._on(targets.device)
        return (targets - mean) / std

    def inverse(self, outputs: Tensor) -> Tensor:
        """Convert outputs of a model trained on standardized targets to the units of the targets."""
        mean, std = self._on(outputs.device)
        return outputs * std + mean

    def state_dict(self) -> dict[str, Tensor]:
        """Mean and standard deviation; empty before `fit`."""
        return {} if self._mean is None or self._std is None else {"mean": self._mean, "std": self._std}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        self._mean, self._std = state.get("mean"), state.get("std")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._mean is None or self._std is None:
            raise RuntimeError("standardize-targets: fit() must be called before it is applied")
        if self._mean.device != device:  # once per run: a copy for every batch would make the device wait
            self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self._mean, self._std


def _feature_axis(inputs: Tensor) -> int:
    if inputs.ndim not in (2, 3, 4):
        raise UsageError(f"standardize: inputs {list(inputs.shape)} are not [N, F], [N, T, F] or [N, C, H, W]")
    return 2 if inputs.ndim == 3 else 1
