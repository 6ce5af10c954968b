from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

from wf.errors import UsageError
from wf_base import Metric
from wf_metrics.accuracy import Accuracy
from wf_metrics.class_scores import F1, Average, ClassScore, Precision, Recall
from wf_metrics.confusion_matrix import ConfusionMatrix

SCORES: list[tuple[type[ClassScore], Callable[..., float]]] = [
    (F1, sk.f1_score),
    (Precision, sk.precision_score),
    (Recall, sk.recall_score),
]
AVERAGES: list[Average] = ["macro", "micro", "weighted", "none"]


def judged(metric: Metric, predictions: Tensor, targets: Tensor, batch_size: int = 1000) -> Tensor:
    for part in zip(predictions.split(batch_size), targets.split(batch_size), strict=True):
        metric.update(*part)
    figure = metric.compute()
    assert isinstance(figure, Tensor)
    return figure


def labels(num: int = 101, classes: int = 5, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Class 3 is never predicted, and class 4 neither occurs nor is predicted."""
    generator = torch.Generator().manual_seed(5)
    targets = torch.randint(classes - 1, (num, *shape), generator=generator)
    guesses = torch.randint(classes - 2, (num, *shape), generator=generator)
    right = torch.rand(num, *shape, generator=generator) > 0.5
    return torch.where(right & (targets != 3), targets, guesses), targets


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_accuracy_is_over_all_samples(batch_size: int) -> None:
    predictions, targets = labels()
    figure = judged(Accuracy(), predictions, targets, batch_size)
    assert figure.item() == sk.accuracy_score(targets, predictions)


def test_accuracy_of_multilabel_is_over_single_labels() -> None:
    figure = judged(Accuracy(), torch.tensor([[1, 0, 1], [0, 0, 0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert figure.item() == 5 / 6


def test_accuracy_of_masks_leaves_ignored_pixels_out() -> None:
    predictions, targets = labels(3, shape=(4, 5))
    targets[:, 0] = 255
    kept = targets != 255
    figure = judged(Accuracy(ignore_index=255), predictions, targets)
    assert figure.item() == (predictions == targets)[kept].double().mean().item()


@pytest.mark.parametrize("batch_size", [9, 1000])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("metric", "reference"), SCORES)
def test_scores_equal_scikit_learn(
    metric: type[ClassScore], reference: Callable[..., float], average: Average, batch_size: int
) -> None:
    predictions, targets = labels()
    figure = judged(metric(5, average), predictions, targets, batch_size)
    every = {"average": None, "labels": range(5)} if average == "none" else {"average": average}
    expected = reference(targets.numpy(), predictions.numpy(), zero_division=0, **every)
    np.testing.assert_allclose(figure.numpy(), expected, rtol=1e-12)
    assert figure.shape == ((5,) if average == "none" else ())


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("metric", "reference"), SCORES)
def test_multilabel_scores_equal_scikit_learn(
    metric: type[ClassScore], reference: Callable[..., float], average: Average
) -> None:
    generator = torch.Generator().manual_seed(6)
    predictions, targets = (torch.rand(2, 30, 4, generator=generator) > 0.6).long()
    predictions[:, 3] = targets[:, 3] = 0  # a label that never occurs
    figure = judged(metric(4, average), predictions, targets.float(), 8)
    expected = reference(
        targets.numpy(), predictions.numpy(), zero_division=0, average=None if average == "none" else average
    )
    np.testing.assert_allclose(figure.numpy(), expected, rtol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20), st.sampled_from(AVERAGES))
def test_scores_equal_torchmetrics(pairs: list[tuple[int, int]], average: Average) -> None:
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_recall

    predictions, targets = torch.tensor(pairs).unbind(1)
    for metric, reference in ((F1, multiclass_f1_score), (Recall, multiclass_recall)):
        expected = reference(predictions, targets, num_classes=4, average=average)
        figure = judged(metric(4, average), predictions, targets, 3)
        torch.testing.assert_close(figure, expected, check_dtype=False, rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", [metric for metric, _ in SCORES])
def test_scores_leave_ignored_targets_out_with_their_predictions(metric: type[ClassScore]) -> None:
    predictions, targets = labels(3, shape=(4, 5))
    targets[:, :2] = -100
    kept = targets != -100
    figure = judged(metric(5), predictions, targets)
    assert torch.equal(figure, judged(metric(5), predictions[kept], targets[kept]))
    many = torch.tensor([[1.0, 0.0], [-100.0, 1.0]])
    assert judged(metric(2, "none"), torch.ones(2, 2), many).tolist() != [0, 0]
    assert judged(metric(2, "none"), torch.ones(2, 2), many)[0] == 1


@pytest.mark.parametrize("metric", [metric for metric, _ in SCORES])
@pytest.mark.parametrize("average", AVERAGES)
def test_zero_division_is_zero(metric: type[ClassScore], average: Average) -> None:
    nothing = judged(metric(2, average), torch.tensor([0, 1]), torch.tensor([-100, -100]))
    assert nothing.tolist() == ([0.0, 0.0] if average == "none" else 0.0)


def test_recall_without_average_is_accuracy_per_class() -> None:
    predictions, targets = labels()
    figures = judged(Recall(5, "none"), predictions, targets)
    for label in range(4):
        mine = targets == label
        assert figures[label].item() == judged(Accuracy(), predictions[mine], targets[mine]).item()


def test_macro_recall_is_balanced_accuracy() -> None:
    predictions, targets = labels(classes=5)
    kept = targets < 3
    figure = judged(Recall(5), predictions[kept], targets[kept])
    assert figure.item() == pytest.approx(sk.balanced_accuracy_score(targets[kept], predictions[kept]), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_confusion_matrix_has_true_classes_as_rows(batch_size: int) -> None:
    predictions, targets = labels()
    matrix = judged(ConfusionMatrix(5), predictions, targets, batch_size)
    assert matrix.dtype == torch.int64
    assert np.array_equal(matrix.numpy(), sk.confusion_matrix(targets, predictions, labels=range(5)))
    assert judged(ConfusionMatrix(2), torch.tensor([1]), torch.tensor([0])).tolist() == [[0, 1], [0, 0]]


def test_confusion_matrix_of_masks_leaves_ignored_pixels_out() -> None:
    predictions, targets = labels(3, shape=(4, 5))
    targets[:, 0] = 255
    matrix = judged(ConfusionMatrix(5, ignore_index=255), predictions, targets)
    assert matrix.sum().item() == 3 * 3 * 5
    assert matrix.trace().item() == (predictions == targets).sum().item()


@pytest.mark.parametrize("metric", [Accuracy(), F1(3), Precision(3), Recall(3), ConfusionMatrix(3)])
def test_refuses_shapes_that_would_broadcast(metric: Metric) -> None:
    with pytest.raises(UsageError, match=r"predictions \[4\] and targets \[4, 1\] differ"):
        metric.update(torch.zeros(4, dtype=torch.int64), torch.zeros(4, 1, dtype=torch.int64))


def test_refuses_an_unknown_average() -> None:
    with pytest.raises(UsageError, match="'average' is 'makro'; choose from macro, micro, weighted, none"):
        F1(3, "makro")  # type: ignore[arg-type]  # the mistake under test


def test_accuracy_without_counted_targets_is_nan() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(judged(Accuracy(), torch.tensor([0]), torch.tensor([-100])).item())


@pytest.mark.parametrize("shape", [(50,), (6, 5, 4)])
def test_iou_against_scikit_learn(shape: tuple[int, ...]) -> None:
    from sklearn.metrics import jaccard_score

    from wf_metrics.class_scores import IoU

    generator = torch.Generator().manual_seed(3)
    predictions, targets = (torch.randint(3, shape, generator=generator) for _ in range(2))
    for average in ("macro", "micro", "weighted", "none"):
        metric = IoU(3, average=average)  # type: ignore[arg-type]  # they are just these
        metric.update(predictions[:3], targets[:3])
        metric.update(predictions[3:], targets[3:])
        theirs = jaccard_score(targets.flatten(), predictions.flatten(), average=None if average == "none" else average)
        torch.testing.assert_close(metric.compute(), torch.as_tensor(theirs, dtype=torch.float64))


def test_iou_leaves_out_ignored_pixels_and_absent_classes() -> None:
    from wf_metrics.class_scores import IoU

    metric = IoU(4, ignore_index=255)
    metric.update(torch.tensor([[[0, 1], [1, 3]]]), torch.tensor([[[0, 1], [0, 255]]]))
    assert metric.compute() == pytest.approx((0.5 + 0.5) / 2)
