"""Metrics of forecasts, in float64 sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from wf import FromRun
from wf.errors import UsageError
from wf_base import Metric
from wf_metrics.common import check_shapes, num_as_tensor, wide


class SMAPE(Metric):
    """The mean over all samples and outputs of ``200 * |error| / (|prediction| + |target|)``: from 0 to 200.

    It is 0 if both are 0. Makridakis 1993, as in the M3 and M4 competitions.
    """

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``."""
        check_shapes(predictions, targets)
        found, actual = wide(predictions), wide(targets)
        size = found.abs() + actual.abs()
        error = 200 * (found - actual).abs() / torch.where(size == 0, 1.0, size)
        self.add("sum", error.sum())
        self.add("count", num_as_tensor(targets.numel(), like=targets))

    def compute(self) -> Tensor:
        """The mean, 0-d."""
        return self.total("sum") / self.total("count")


class MASE(Metric):
    """The mean absolute error of each output relative to its naive forecast on the train split, averaged.

    Below 1 is better than the naive forecast: the last value, or the value one season earlier, one step ahead.
    Hyndman and Koehler 2006. With several series the naive error covers all of them.

    Args:
        dataset_facts: The dataset's facts, in which ``series`` provides the naive errors.
        naive_errors: One per output, or one for all, if the dataset does not provide them.

    Raises:
        UsageError: If the naive errors are unknown.
    """

    def __init__(
        self,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
        naive_errors: list[float] | None = None,
    ) -> None:
        super().__init__()
        found = (dataset_facts or {}).get("naive_errors") if naive_errors is None else naive_errors
        if found is None:
            raise UsageError(
                "metric 'mase' needs the errors of the naive forecast, which dataset 'series' says of its train split\n"
                "  give them: --metric.mase.naive_errors '[1.5]', one an output; or use mae"
            )
        self._naive = torch.tensor([float(one) for one in found], dtype=torch.float64)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``.

        Raises:
            UsageError: When K is not the number of naive errors.
        """
        check_shapes(predictions, targets)
        columns = targets.reshape(len(targets), -1)
        if len(self._naive) not in (1, columns.shape[1]):
            raise UsageError(f"metric 'mase' has {len(self._naive)} naive errors for {columns.shape[1]} outputs")
        self.add("sum", (wide(predictions.reshape(columns.shape)) - wide(columns)).abs().sum(0))
        self.add("count", num_as_tensor(len(targets), like=targets))

    def compute(self) -> Tensor:
        """The mean, 0-d; nan if the naive forecast has no error."""
        errors = self.total("sum") / self.total("count")
        naive = self._naive.to(errors)
        return (errors / torch.where(naive == 0, torch.nan, naive)).mean()
