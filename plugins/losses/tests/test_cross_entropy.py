from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_losses.common import Loss, Reduction
from wf_losses.cross_entropy import CrossEntropyLoss, NLLLoss, WeightedCrossEntropyLoss, balanced_weights
from wf_losses.focal import FocalLoss

COUNTS = [50, 30, 15, 5]


def batch(num: int = 41, spatial: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(num, 4, *spatial, generator=generator).mul(3).requires_grad_()
    return logits, torch.randint(4, (num, *spatial), generator=generator)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("spatial", [(), (5, 6)], ids=["samples", "masks"])
def test_defaults_have_the_bits_of_torch(spatial: tuple[int, ...], reduction: Reduction) -> None:
    logits, targets = batch(7, spatial)
    log_probs = logits.log_softmax(1)
    assert torch.equal(
        CrossEntropyLoss(reduction=reduction)(logits, targets), F.cross_entropy(logits, targets, reduction=reduction)
    )
    assert torch.equal(
        NLLLoss(reduction=reduction)(log_probs, targets), F.nll_loss(log_probs, targets, None, reduction=reduction)
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_is_cross_entropy_with_weights(reduction: Reduction) -> None:
    logits, targets = batch()
    weights = [1.0, 10.0, 100.0, 100.0]
    loss = WeightedCrossEntropyLoss(COUNTS, weights, label_smoothing=0.1, ignore_index=2, reduction=reduction)
    expected = F.cross_entropy(
        logits, targets, torch.tensor(weights), ignore_index=2, reduction=reduction, label_smoothing=0.1
    )
    assert torch.equal(loss(logits, targets), expected)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=8))
def test_default_weights_are_scikit_learns_balanced(counts: list[int]) -> None:
    classes = np.arange(len(counts))
    expected = compute_class_weight("balanced", classes=classes, y=classes.repeat(counts))
    assert balanced_weights(counts) == pytest.approx(expected.tolist(), rel=1e-12)


def test_weighted_takes_the_weights_from_the_counts() -> None:
    logits, targets = batch()
    expected = F.cross_entropy(logits, targets, torch.tensor(balanced_weights(COUNTS)))
    assert torch.equal(WeightedCrossEntropyLoss(COUNTS)(logits, targets), expected)


def test_a_class_without_train_samples_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no train samples of class 1, 3 \(of 4\)[\s\S]*set class_weights"):
        WeightedCrossEntropyLoss([4, 0, 2, 0])
    assert WeightedCrossEntropyLoss([4, 0], [1.0, 2.0]).weight.tolist() == [1.0, 2.0]


def test_wrong_number_of_weights_names_both() -> None:
    with pytest.raises(UsageError, match="'class_weights' has 2 weights, but there are 4 classes"):
        WeightedCrossEntropyLoss(COUNTS, [1.0, 2.0])


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [0.0, 0.0]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match=r"'class_weights' is \["):
        WeightedCrossEntropyLoss([1, 1], weights)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_label_smoothing_out_of_range(value: float) -> None:
    for build in (CrossEntropyLoss, FocalLoss):
        with pytest.raises(UsageError, match=r"'label_smoothing' is .*; it must be from 0 to 1"):
            build(label_smoothing=value)
    with pytest.raises(UsageError, match="label_smoothing"):
        WeightedCrossEntropyLoss([1, 1], label_smoothing=value)


LOSSES = [
    NLLLoss(ignore_index=2),
    CrossEntropyLoss(label_smoothing=0.1, ignore_index=2),
    WeightedCrossEntropyLoss(COUNTS, ignore_index=2),
    WeightedCrossEntropyLoss(COUNTS, label_smoothing=0.1),
    FocalLoss(ignore_index=2),
    FocalLoss(alpha=[1.0, 2.0, 3.0, 4.0], label_smoothing=0.1),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("spatial", [(), (3, 2)], ids=["samples", "masks"])
def test_total_weight_combines_micro_batches(loss: Loss, spatial: tuple[int, ...]) -> None:
    logits, targets = batch(41, spatial)
    if isinstance(loss, NLLLoss):
        logits = logits.log_softmax(1)
    parts = list(zip(logits.split(13), targets.split(13), strict=True))
    weights = [loss.total_weight(part) for _, part in parts]
    together = sum(loss(*part) * weight for part, weight in zip(parts, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(together, loss(logits, targets))


def test_ignored_targets_have_no_gradient_even_outside_the_classes() -> None:
    logits, targets = batch()
    targets[::3] = 255
    for loss in (
        CrossEntropyLoss(ignore_index=255),
        WeightedCrossEntropyLoss(COUNTS, ignore_index=255),
        FocalLoss(ignore_index=255),
    ):
        (gradient,) = torch.autograd.grad(loss(logits, targets), logits)
        assert (gradient[::3] == 0).all()
        assert (gradient[1::3] != 0).any()
        assert loss.total_weight(targets) > 0


def test_soft_targets_are_accepted() -> None:
    logits, targets = batch(6, (2, 2))
    shares = F.one_hot(targets, 4).movedim(-1, 1).float()
    loss = CrossEntropyLoss()
    torch.testing.assert_close(loss(logits, shares), loss(logits, targets))
    assert loss.total_weight(shares).item() == loss.total_weight(targets).item() == 24


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_follow_the_logits(dtype: torch.dtype) -> None:
    logits, targets = batch()
    loss = WeightedCrossEntropyLoss(COUNTS)(logits.to(dtype), targets)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.float(), WeightedCrossEntropyLoss(COUNTS)(logits, targets), rtol=0.02, atol=0)


def test_class_weights_are_not_in_the_state_dict() -> None:
    assert not WeightedCrossEntropyLoss(COUNTS).state_dict()
    assert not FocalLoss(alpha=[1.0, 2.0]).state_dict()
