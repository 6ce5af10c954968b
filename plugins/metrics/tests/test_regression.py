from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

from wf.errors import UsageError
from wf_base import Metric
from wf_metrics.regression import R2, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError

METRICS = [MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError, R2]


def judged(metric: Metric, predictions: Tensor, targets: Tensor, batch_size: int = 1000) -> float:
    for part in zip(predictions.split(batch_size), targets.split(batch_size), strict=True):
        metric.update(*part)
    figure = metric.compute()
    assert isinstance(figure, Tensor)
    return figure.item()


def batch(num: int = 101, outputs: int = 3, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    targets = torch.randn(num, outputs, generator=generator) * torch.tensor([0.5, 1.0, 20.0])[:outputs] + mean
    return targets + torch.randn(num, outputs, generator=generator), targets


@pytest.mark.parametrize("batch_size", [1, 8, 1000])
@pytest.mark.parametrize("outputs", [1, 3])
def test_figures_equal_scikit_learn(outputs: int, batch_size: int) -> None:
    predictions, targets = batch(outputs=outputs)
    wide = targets.double(), predictions.double()
    expected = {
        MeanAbsoluteError: sk.mean_absolute_error(*wide),
        MeanSquaredError: sk.mean_squared_error(*wide),
        RootMeanSquaredError: math.sqrt(sk.mean_squared_error(*wide)),
        R2: sk.r2_score(*wide),
    }
    for metric, value in expected.items():
        assert judged(metric(), predictions, targets, batch_size) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 16, 1000])
@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
def test_r2_equals_torchmetrics_even_for_large_means(mean: float, batch_size: int) -> None:
    from torchmetrics.functional.regression import r2_score

    predictions, targets = batch(mean=mean)
    figure = judged(R2(), predictions, targets, batch_size)
    centred = targets.double() - mean
    assert figure == pytest.approx(r2_score(predictions.double() - mean, centred).item(), rel=1e-9)


def test_r2_in_float64_is_accurate_for_a_mean_of_1e10() -> None:
    predictions, targets = batch()
    expected = sk.r2_score(targets.double(), predictions.double())
    shifted = predictions.double() + 1e10, targets.double() + 1e10
    assert judged(R2(), *shifted, 7) == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=30), st.integers(1, 30), st.integers(0, 30))
def test_r2_does_not_depend_on_the_batches(values: list[float], batch_size: int, seed: int) -> None:
    targets = torch.tensor(values).unsqueeze(1)
    predictions = targets + torch.randn(targets.shape, generator=torch.Generator().manual_seed(seed))
    whole = judged(R2(), predictions, targets)
    assert judged(R2(), predictions, targets, batch_size) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_r2_of_constant_targets_is_as_in_scikit_learn(batch_size: int) -> None:
    targets = torch.full((7, 1), 0.1)
    assert judged(R2(), targets, targets, batch_size) == 1.0
    assert judged(R2(), targets + 1, targets, batch_size) == 0.0
    mixed = torch.cat([torch.full((7, 1), 0.5), torch.arange(7.0).unsqueeze(1)], 1)
    assert judged(R2(), mixed + 1, mixed, batch_size) == pytest.approx(sk.r2_score(mixed, mixed + 1), rel=1e-6)


def test_r2_of_one_sample_is_nan() -> None:
    assert math.isnan(judged(R2(), torch.ones(1, 1), torch.zeros(1, 1)))


@pytest.mark.parametrize("metric", METRICS)
def test_refuses_shapes_that_would_broadcast(metric: type[Metric]) -> None:
    with pytest.raises(UsageError, match=r"predictions \[4, 1\] and targets \[4\] differ"):
        metric().update(torch.zeros(4, 1), torch.zeros(4))


def test_half_precision_predictions_do_not_lose_the_sum() -> None:
    predictions, targets = torch.full((5000, 1), 1.5, dtype=torch.float16), torch.zeros(5000, 1)
    assert judged(MeanSquaredError(), predictions, targets, 100) == 2.25
