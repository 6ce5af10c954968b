from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch import Tensor

from wf.errors import UsageError
from wf_metrics.auroc import AUROC


def area(scores: Tensor, targets: Tensor, batch_size: int = 1000, ignore_index: int = -100) -> float:
    metric = AUROC(ignore_index)
    for part in zip(scores.split(batch_size), targets.split(batch_size), strict=True):
        metric.update(*part)
    return metric.compute().item()


def pair(scores: Tensor) -> Tensor:
    return torch.stack([1 - scores, scores], 1)


def batch(num: int = 60, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    scores = torch.randint(1, 6, (num, classes), generator=generator).double()  # many ties
    return scores / scores.sum(1, keepdim=True), torch.randint(classes, (num,), generator=generator)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40), st.integers(1, 50))
def test_binary_counts_every_pair_and_ties_half(samples: list[tuple[int, bool]], batch_size: int) -> None:
    scores, targets = [score / 8 for score, _ in samples], [int(target) for _, target in samples]
    won = [
        (mine > other) + (mine == other) / 2
        for mine, target in zip(scores, targets, strict=True)
        for other, against in zip(scores, targets, strict=True)
        if target and not against
    ]
    figure = area(pair(torch.tensor(scores)), torch.tensor(targets), batch_size)
    assert math.isnan(figure) if not won else figure == pytest.approx(sum(won) / len(won), rel=1e-12)


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_several_classes_are_averaged_one_against_the_rest(batch_size: int) -> None:
    from torchmetrics.functional.classification import multiclass_auroc

    scores, targets = batch()
    figure = area(scores, targets, batch_size)
    assert figure == pytest.approx(roc_auc_score(targets, scores, multi_class="ovr"), rel=1e-12)
    assert figure == pytest.approx(multiclass_auroc(scores, targets, 4).item(), rel=1e-6)


def test_multilabel_is_the_mean_over_labels() -> None:
    scores, _ = batch()
    targets = (torch.rand(60, 4, generator=torch.Generator().manual_seed(8)) > 0.5).float()
    assert area(scores, targets, 13) == pytest.approx(roc_auc_score(targets, scores), rel=1e-12)


def test_two_labels_are_not_a_binary_task() -> None:
    scores, targets = torch.tensor([[0.1, 0.1], [0.9, 0.9]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert area(scores, targets) == 0.5


def test_an_absent_class_gives_nan_as_in_scikit_learn() -> None:
    scores, targets = batch()
    targets[targets == 2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        assert math.isnan(roc_auc_score(targets, scores, multi_class="ovr", labels=range(4)))
    assert math.isnan(area(scores, targets))
    assert math.isnan(area(pair(torch.rand(5)), torch.ones(5, dtype=torch.int64)))
    assert math.isnan(area(torch.rand(5, 2), torch.tensor([[1.0, 0.0]] * 5)))


def test_a_score_that_is_nan_gives_nan() -> None:
    scores = torch.tensor([0.1, math.nan, 0.9, 0.2])
    assert math.isnan(area(pair(scores), torch.tensor([0, 0, 1, 1])))


def test_ignored_targets_are_left_out() -> None:
    scores, targets = batch()
    targets[::5] = 9
    kept = targets != 9
    assert area(scores, targets, ignore_index=9) == area(scores[kept], targets[kept])


def test_half_precision_scores() -> None:
    scores = torch.tensor([0.1, 0.5, 0.5, 0.9], dtype=torch.bfloat16)
    assert area(pair(scores), torch.tensor([0, 0, 1, 1])) == 0.875


def test_a_large_split_does_not_overflow() -> None:
    num = 200_000
    targets = torch.arange(num) % 2
    assert area(pair(torch.linspace(0, 1, num, dtype=torch.float64)), targets) == pytest.approx(0.5, abs=1e-4)
    assert area(pair(targets.float()), targets) == 1.0


@pytest.mark.parametrize("shape", [(4, 1), (3,), (4, 2, 2)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"auroc takes probabilities \[N, C\] and class indices"):
        AUROC().update(torch.rand(4, 2), torch.zeros(shape, dtype=torch.int64))
