"""Handling of missing numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from wf.errors import DataError

Missing = Literal["error", "drop", "mean"]


class FillMissing:
    """Replace nan by the feature's mean on the train split."""

    def __init__(self) -> None:
        self._mean: Tensor | None = None

    def fit(self, inputs: Tensor) -> None:
        """Measure the train split.

        Args:
            inputs: ``[N, ...]``; each number of a sample is a feature.

        Raises:
            DataError: If a feature has no number in the train split.
        """
        mean = inputs.double().nanmean(dim=0, keepdim=True)
        empty = torch.nonzero(mean.isnan().flatten())
        if len(empty):
            raise DataError(
                f"feature {int(empty[0]) + 1} has no number in the train split, so it has no mean\n"
                "  leave it out of the inputs, or choose another --split or --seed"
            )
        self._mean = mean

    def __call__(self, inputs: Tensor) -> Tensor:
        """The inputs without nan."""
        if self._mean is None:
            raise RuntimeError("fit() must be called before missing values are filled in")
        if self._mean.device != inputs.device:  # once per run: a copy for every batch would make the device wait
            self._mean = self._mean.to(inputs.device)
        return torch.where(inputs.isnan(), self._mean.to(inputs.dtype), inputs)

    def state_dict(self) -> dict[str, Tensor]:
        """The means; empty before `fit`."""
        return {} if self._mean is None else {"mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state_dict`."""
        self._mean = state.get("mean")
