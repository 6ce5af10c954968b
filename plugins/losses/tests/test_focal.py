from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from wf.errors import UsageError
from wf_losses.common import Reduction
from wf_losses.focal import FocalLoss

GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def batch(num: int = 40, classes: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(num, classes, generator=generator).mul(3).to(dtype)
    return logits.requires_grad_(), torch.randint(classes, (num,), generator=generator)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gamma_0_is_cross_entropy(smoothing: float, reduction: Reduction) -> None:
    logits, targets = batch()
    loss = FocalLoss(gamma=0, label_smoothing=smoothing, reduction=reduction)(logits, targets)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction=reduction)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    ours, theirs = (torch.autograd.grad(figure.sum(), logits)[0] for figure in (loss, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_gamma_0_with_alpha_is_weighted_cross_entropy_over_the_number_of_targets() -> None:
    logits, targets = batch()
    alpha = [0.5, 1.0, 4.0]
    expected = F.cross_entropy(logits, targets, torch.tensor(alpha), reduction="sum") / len(targets)
    torch.testing.assert_close(FocalLoss(gamma=0, alpha=alpha)(logits, targets), expected)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_form_is_the_papers_equation(gamma: float) -> None:
    logits, targets = batch(dtype=torch.float64)
    alpha = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    p_t = logits.softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)
    expected = -alpha[targets] * (1 - p_t) ** gamma * p_t.log()
    loss = FocalLoss(gamma, alpha.tolist(), reduction="none")
    torch.testing.assert_close(loss(logits, targets), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(40,), (20, 3)], ids=["binary", "multilabel"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.7), (1.5, 1.0), (2.0, None)])
def test_sigmoid_form_is_torchvisions(
    gamma: float, alpha: float | None, reduction: Reduction, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(shape, generator=generator).mul(3).requires_grad_()
    targets = (torch.rand(shape, generator=generator) > 0.7).float()
    loss = FocalLoss(gamma, alpha, reduction=reduction)(logits, targets)
    expected = sigmoid_focal_loss(logits, targets, -1 if alpha is None else alpha, gamma, reduction)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(figure.sum(), logits)[0] for figure in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@given(
    st.floats(-30, 30),
    st.integers(0, 1),
    st.sampled_from(GAMMAS),
    st.none() | st.floats(0.01, 0.99),
    st.sampled_from([0.0, 0.1]),
)
def test_two_classes_are_one_sigmoid(
    logit: float, target: int, gamma: float, alpha: float | None, smoothing: float
) -> None:
    if alpha is not None and smoothing:
        smoothing = 0.0  # alpha belongs to the class or to the target
    score = torch.tensor([logit], dtype=torch.float64)
    sigmoid = FocalLoss(gamma, alpha, smoothing)(score, torch.tensor([float(target)], dtype=torch.float64))
    alphas = None if alpha is None else [1 - alpha, alpha]
    pair = torch.stack([torch.zeros_like(score), score], 1)
    # cross_entropy takes log(1 + e): for a small e = exp(-|logit|) the sum rounds e by a share of eps / e.
    rtol = 1e-6 + max(gamma, 1) * torch.finfo(torch.float64).eps * math.exp(abs(logit))
    torch.testing.assert_close(
        FocalLoss(gamma, alphas, smoothing)(pair, torch.tensor([target])), sigmoid, rtol=rtol, atol=1e-13
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradients(gamma: float) -> None:
    logits, targets = batch(6, dtype=torch.float64)
    labels = F.one_hot(targets, 3).double()
    softmax = FocalLoss(gamma, [0.5, 1.0, 4.0], label_smoothing=0.1, ignore_index=2)
    sigmoid = FocalLoss(gamma, 0.25, label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda scores: softmax(scores, targets), logits)
    assert torch.autograd.gradcheck(lambda scores: sigmoid(scores, labels), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 30.0, 104.0, 6e4, 1e30])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_extreme_logits_give_finite_losses_and_gradients(gamma: float, size: float, dtype: torch.dtype) -> None:
    size = min(size, torch.finfo(dtype).max)
    logits = torch.tensor([[size, -size], [-size, size], [size, size], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    for targets in (torch.tensor([0, 0, 0, 0]), labels):
        loss = FocalLoss(gamma, reduction="none")(logits, targets)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
        assert loss[1].max() >= size * (0.99 if size >= 30 else 0.1)  # wrong predictions keep their weight


def test_confident_predictions_keep_their_precision() -> None:
    loss = FocalLoss(gamma=1.0)(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
    exact = torch.tensor(20.0, dtype=torch.float64).neg().sigmoid()  # 1 - p_t; the cross-entropy is the same to 1e-9
    assert loss.item() == pytest.approx(exact.item() ** 2, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, targets = batch()
    half = logits.detach().to(dtype)
    loss = FocalLoss()(half, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, FocalLoss()(half.float(), targets))
    labels = F.one_hot(targets, 3).to(dtype)
    assert torch.equal(FocalLoss(alpha=0.25)(half, labels), FocalLoss(alpha=0.25)(half.float(), labels.float()))


def test_works_under_autocast() -> None:
    logits, targets = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = FocalLoss()(logits, targets)
    assert torch.equal(loss, FocalLoss()(logits, targets))


def test_masks() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, targets = torch.randn(2, 3, 4, 5, generator=generator), torch.randint(3, (2, 4, 5), generator=generator)
    flat = logits.movedim(1, -1).reshape(-1, 3)
    loss = FocalLoss(alpha=[1.0, 2.0, 3.0])
    torch.testing.assert_close(loss(logits, targets), loss(flat, targets.flatten()))


def test_the_mean_divides_by_the_counted_targets() -> None:
    logits, targets = batch()
    loss = FocalLoss(alpha=[1.0, 2.0, 3.0], ignore_index=1)
    kept = targets != 1
    expected = FocalLoss(alpha=[1.0, 2.0, 3.0], reduction="sum")(logits[kept], targets[kept]) / kept.sum()
    torch.testing.assert_close(loss(logits, targets), expected)
    assert loss.total_weight(targets).item() == kept.sum().item()
    assert loss.total_weight(torch.zeros(4, 3)).item() == 12


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_gamma_out_of_range(gamma: float) -> None:
    with pytest.raises(UsageError, match=r"'gamma' is .*; it must be a finite number of at least 0"):
        FocalLoss(gamma)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), [1.0, -1.0], [0.0, 0.0]])
def test_alpha_out_of_range(alpha: float | list[float]) -> None:
    with pytest.raises(UsageError, match="'alpha' is"):
        FocalLoss(alpha=alpha)


def test_alpha_must_fit_the_targets() -> None:
    logits, targets = batch()
    with pytest.raises(UsageError, match=r"'alpha' is the number 0.25, but class indices take a list[\s\S]*give 3"):
        FocalLoss(alpha=0.25)(logits, targets)
    with pytest.raises(UsageError, match="'alpha' has 2 factors, but there are 3 classes"):
        FocalLoss(alpha=[1.0, 2.0])(logits, targets)
    with pytest.raises(UsageError, match="'alpha' is a list of 3, but binary and multilabel targets take one number"):
        FocalLoss(alpha=[1.0, 2.0, 3.0])(logits, F.one_hot(targets, 3).float())


def test_refuses_floating_targets_of_another_shape() -> None:
    with pytest.raises(UsageError, match=r"predictions \[4, 1\] and targets \[4\] differ"):
        FocalLoss()(torch.randn(4, 1), torch.ones(4))
