"""Metrics of forecasts, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wf.errors import UsageError
from wf_metrics.forecasts import MASE, SMAPE

PREDICTIONS = torch.tensor([[1.0, 0.0], [3.0, -2.0], [0.0, 5.0]])
TARGETS = torch.tensor([[2.0, 0.0], [3.0, 2.0], [4.0, 4.0]])


def test_smape_by_hand() -> None:
    metric = SMAPE()
    for part in (slice(0, 2), slice(2, 3)):
        metric.update(PREDICTIONS[part], TARGETS[part])
    assert metric.compute().item() == pytest.approx((200 / 3 + 0 + 0 + 200 + 200 + 200 / 9) / 6)


def test_mase_by_hand() -> None:
    series = np.array([1.0, 3.0, 2.0, 6.0])
    naive = float(np.abs(np.diff(series)).mean())
    metric = MASE({"naive_errors": [naive, 0.5]})
    for part in (slice(0, 2), slice(2, 3)):
        metric.update(PREDICTIONS[part], TARGETS[part])
    errors = (PREDICTIONS - TARGETS).abs().double().mean(0).tolist()
    assert metric.compute().item() == pytest.approx((errors[0] / naive + errors[1] / 0.5) / 2)
    own = MASE(naive_errors=[0.0, 1.0])
    own.update(PREDICTIONS, TARGETS)
    assert math.isnan(own.compute().item()), "the naive forecast has no error"


def test_mase_without_naive_errors_is_refused() -> None:
    with pytest.raises(UsageError, match=r"dataset 'series'(?s:.)*--metric.mase.naive_errors"):
        MASE({"window": 3})
    with pytest.raises(UsageError, match="3 naive errors for 2 outputs"):
        MASE(naive_errors=[1.0] * 3).update(PREDICTIONS, TARGETS)


def test_mase_of_several_series_is_their_mean() -> None:
    """Series of all scales count equally, as in the M4 competition; one with a naive error of 0 does not count."""
    facts = {"naive_errors": [[1.0], [100.0], [0.0]], "windows": {"test": [3, 1, 1]}}
    errors = torch.tensor([[1.0], [2.0], [3.0], [50.0], [7.0]])
    whole, parts = MASE(facts), MASE(facts)
    whole.update_samples(errors, torch.zeros_like(errors), torch.arange(5), "test")
    assert whole.compute().item() == pytest.approx((2 / 1 + 50 / 100) / 2)
    for ids in ([4, 0], [3, 2, 1]):  # in any order, and over several batches
        parts.update_samples(errors[ids], torch.zeros(len(ids), 1), torch.tensor(ids), "test")
    assert parts.compute().item() == pytest.approx(whole.compute().item())
    other = MASE(facts)
    other.update_samples(errors, torch.zeros_like(errors), torch.arange(5), "validation/other")
    assert math.isnan(other.compute().item()), "the series of these samples are unknown"
