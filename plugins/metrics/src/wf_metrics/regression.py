"""Metrics of numbers against numbers, in float64 sums."""

from __future__ import annotations

import torch
from torch import Tensor

from wf_base import Metric
from wf_base.tensors import check_shapes, num_as_tensor
from wf_metrics.common import wide


class MeanAbsoluteError(Metric):
    """The mean of absolute differences over all samples and outputs."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``."""
        check_shapes(predictions, targets, "metric")
        self.add("sum", (wide(predictions) - wide(targets)).abs().sum())
        self.add("count", num_as_tensor(targets.numel(), like=targets))

    def compute(self) -> Tensor:
        """The mean, 0-d."""
        return self.total("sum") / self.total("count")


class MeanSquaredError(Metric):
    """The mean of squared differences over all samples and outputs."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``."""
        check_shapes(predictions, targets, "metric")
        self.add("sum", (wide(predictions) - wide(targets)).square().sum())
        self.add("count", num_as_tensor(targets.numel(), like=targets))

    def compute(self) -> Tensor:
        """The mean, 0-d."""
        return self.total("sum") / self.total("count")


class RootMeanSquaredError(MeanSquaredError):
    """The square root of `mse`: of the mean over all samples and outputs, in the units of the targets."""

    def compute(self) -> Tensor:
        """The root, 0-d."""
        return super().compute().sqrt()


class R2(Metric):
    """The fraction of the targets' variance that is explained, ``1 - SS_res / SS_tot``, averaged over the outputs.

    An output whose targets are all equal gives 1 when they are predicted exactly and 0 otherwise, as in scikit-learn;
    fewer than two samples give NaN.
    """

    # Sums of squares about a mean do not add up, neither over batches nor over processes, and sums of plain squares
    # lose all digits where the mean is large. So SS_tot is split as in Chan, Golub and LeVeque (1983): squares about
    # each batch's own mean add up, and the batch means are kept, one row per batch, for the squares between batches.

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with float predictions and targets of one shape, ``[N, K]``."""
        check_shapes(predictions, targets, "metric")
        actual = wide(targets).reshape(len(targets), -1)
        mean = actual.mean(0, keepdim=True)
        self.add("residual", (wide(predictions).reshape(actual.shape) - actual).square().sum(0))
        self.add("within", (actual - mean).square().sum(0))
        self.append("mean", mean)
        self.append("count", num_as_tensor(len(targets), like=targets).reshape(1))

    def compute(self) -> Tensor:
        """The mean over the outputs, 0-d."""
        means, counts = self.values("mean"), self.values("count").unsqueeze(1)
        mean = (means * counts).sum(0) / counts.sum()
        total = self.total("within") + (counts * (means - mean).square()).sum(0)
        residual = self.total("residual")
        constant = (residual == 0).to(total.dtype)
        explained = torch.where(total == 0, constant, 1 - residual / torch.where(total == 0, 1, total))
        return torch.where(counts.sum() < 2, torch.nan, explained.mean())
