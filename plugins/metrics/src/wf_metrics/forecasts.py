"""Metrics of forecasts, in float64 sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from wf import FromRun
from wf.errors import UsageError
from wf_base import Metric
from wf_base.tensors import check_shapes, num_as_tensor
from wf_metrics.common import wide


class SMAPE(Metric):
    """The mean over all samples and outputs of ``200 * |error| / (|prediction| + |target|)``: from 0 to 200.

    It is 0 if both are 0. Makridakis 1993, as in the M3 and M4 competitions.
    """

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``."""
        check_shapes(predictions, targets, "metric")
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
    Hyndman and Koehler 2006. Of several series each has its own naive forecast, and the figure is the mean over the
    series, each counting once; those whose naive forecast has no error, or is unknown, are left out. A further
    validation set has the naive forecasts of the train split's series with the same names.

    Args:
        dataset_facts: The dataset's facts, in which ``series`` provides the naive errors of each series.
        validation_facts: Those of the further validation sets.
        naive_errors: One per output, or one for all, if the dataset does not provide them.

    Raises:
        UsageError: If the naive errors are unknown.
    """

    def __init__(
        self,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
        validation_facts: Annotated[Mapping[str, Any] | None, FromRun("validation_facts")] = None,
        naive_errors: list[float] | None = None,
    ) -> None:
        super().__init__()
        facts = dataset_facts or {}
        found = facts.get("naive_errors") if naive_errors is None else naive_errors
        if found is None:
            raise UsageError(
                "metric 'mase' needs the errors of the naive forecast, which dataset 'series' says of its train split\n"
                "  give them: --metric.mase.naive_errors '[1.5]', one an output; or use mae"
            )
        self._naive = torch.tensor(found, dtype=torch.float64).reshape(-1, _width(found))
        """``[series, outputs]``."""
        windows = facts.get("windows", {}) if len(self._naive) > 1 else {}
        self._series = {
            split: torch.arange(len(own)).repeat_interleave(torch.tensor(own)) for split, own in windows.items()
        }
        """The series of each sample of a split."""
        if len(self._naive) > 1:
            self._add_sets(facts.get("series", ()), validation_facts or {})

    def _add_sets(self, names: Sequence[str], sets: Mapping[str, Any]) -> None:
        """The series of the samples of further validation sets; all that the train split lacks are one, of no error."""
        places = {name: place for place, name in enumerate(names)}
        for split, facts in sets.items():
            windows = facts.get("windows", {})
            own = next((windows[one] for one in ("validation", "test", "train") if sum(windows.get(one, ()))), None)
            if own is not None:
                series = torch.tensor([places.get(name, len(places)) for name in facts["series"]])
                self._series[split] = series.repeat_interleave(torch.tensor(own))
        if any(int(own.max()) == len(places) for own in self._series.values() if len(own)):
            unknown = torch.full_like(self._naive[:1], torch.nan)
            self._naive = torch.cat([self._naive, unknown])

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``, all of one series.

        Raises:
            UsageError: When K is not the number of naive errors.
        """
        self._add(predictions, targets, None)

    def update_samples(self, predictions: Tensor, targets: Tensor, sample_ids: Tensor, split: str) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``, each of the series of its sample.

        Raises:
            UsageError: As `update`.
        """
        if len(self._naive) == 1:
            self._add(predictions, targets, None)
        elif split in self._series:
            series = self._series[split].to(sample_ids.device)[sample_ids].to(targets.device)
            self._add(predictions, targets, one_hot(series, len(self._naive)).to(torch.float64).T)

    def _add(self, predictions: Tensor, targets: Tensor, series: Tensor | None) -> None:
        check_shapes(predictions, targets, "metric")
        columns = targets.reshape(len(targets), -1)
        if self._naive.shape[1] not in (1, columns.shape[1]):
            raise UsageError(f"metric 'mase' has {self._naive.shape[1]} naive errors for {columns.shape[1]} outputs")
        errors = (wide(predictions.reshape(columns.shape)) - wide(columns)).abs()
        if series is None:
            self.add("sum", errors.sum(0, keepdim=True))
            self.add("count", num_as_tensor(len(targets), like=targets).reshape(1, 1))
        else:  # a product, which has the same bits each time also on CUDA
            self.add("sum", series.to(errors.dtype) @ errors)
            self.add("count", series.sum(1, keepdim=True))

    def compute(self) -> Tensor:
        """The mean, 0-d; nan if no naive forecast has an error, or nobody knows of which series the samples are."""
        if "sum" not in self._sums:
            return torch.tensor(torch.nan)
        errors = self.total("sum") / self.total("count")
        naive = self._naive.to(errors)
        relative = errors / torch.where(naive == 0, torch.nan, naive)
        return relative.mean() if len(naive) == 1 else relative.nanmean(1).nanmean()


def _width(found: Sequence[Any]) -> int:
    """The outputs of naive errors, one list for all series or one each."""
    return len(found[0]) if isinstance(found[0], (list, tuple)) else len(found)
