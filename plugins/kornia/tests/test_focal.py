"""The library's focal losses compared with wf's on the same logits: where they agree and where they differ."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from wf.errors import UsageError
from wf_kornia.losses import build
from wf_losses.focal import FocalLoss

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(20, 4, 5, 6, generator=DRAW)
MASKS = torch.randint(4, (20, 5, 6), generator=DRAW)
LABELS = torch.randint(2, (20, 4), generator=DRAW).float()


def kornia(reduction: str = "mean", alpha: float | None = None, gamma: float = 2.0) -> torch.nn.Module:
    return build("FocalLoss", alpha=alpha, gamma=gamma, reduction=reduction)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sums_agree_and_kornias_mean_also_divides_by_classes(gamma: float) -> None:
    assert_close(kornia("sum", gamma=gamma)(LOGITS, MASKS), FocalLoss(gamma=gamma, reduction="sum")(LOGITS, MASKS))
    assert_close(4 * kornia(gamma=gamma)(LOGITS, MASKS), FocalLoss(gamma=gamma)(LOGITS, MASKS))


def test_class_indices_as_masks() -> None:
    logits, classes = LOGITS[:, :, 0, 0], MASKS[:, 0, 0]
    assert_close(4 * kornia()(logits, classes), FocalLoss()(logits, classes))


def test_kornias_alpha_weights_class_0_against_the_others() -> None:
    """Kornia's alpha is one number: 1 - alpha for class 0, alpha for all others; wf's is one factor per class."""
    ours = FocalLoss(alpha=[0.75, 0.25, 0.25, 0.25], reduction="sum")
    assert_close(kornia("sum", 0.25)(LOGITS, MASKS), ours(LOGITS, MASKS))


def test_kornias_mean_counts_ignored_pixels() -> None:
    masks = MASKS.clone()
    masks[:, 0] = -100
    assert_close(kornia("sum")(LOGITS, masks), FocalLoss(reduction="sum")(LOGITS, masks))
    counted = (masks != -100).float().mean()
    assert_close(4 * kornia()(LOGITS, masks), FocalLoss()(LOGITS, masks) * counted)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_and_multilabel_are_the_same(alpha: float | None, reduction: str) -> None:
    logits = LOGITS[:, :, 0, 0]
    ours = FocalLoss(alpha=alpha, reduction=reduction)  # type: ignore[arg-type]  # one of them
    theirs = build("BinaryFocalLossWithLogits", alpha=alpha, reduction=reduction)
    assert_close(theirs(logits, LABELS), ours(logits, LABELS))
    assert_close(theirs(logits[:, 0], LABELS[:, 0]), ours(logits[:, 0], LABELS[:, 0]))


def test_alpha_is_checked() -> None:
    with pytest.raises(UsageError, match=r"alpha is 2\.0; it must be from 0 to 1"):
        kornia(alpha=2.0)


def test_class_weights_are_given_as_numbers() -> None:
    weighted = build("FocalLoss", weight=[1.0, 2.0, 3.0, 4.0], reduction="sum", alpha=None)
    assert_close(weighted(LOGITS, MASKS), FocalLoss(alpha=[1.0, 2.0, 3.0, 4.0], reduction="sum")(LOGITS, MASKS))


@pytest.mark.parametrize("name", ["CharbonnierLoss", "CauchyLoss", "GemanMcclureLoss", "WelschLoss"])
def test_robust_losses_have_a_mean_reduction(name: str) -> None:
    zero, one = torch.zeros(3, 2), torch.ones(3, 2)
    by_hand = {
        "CharbonnierLoss": 2**0.5 - 1,
        "CauchyLoss": torch.tensor(1.5).log().item(),
        "GemanMcclureLoss": 0.4,
        "WelschLoss": 1 - torch.tensor(-0.5).exp().item(),
    }
    assert_close(build(name, reduction="mean")(one, zero).item(), by_hand[name], rtol=1e-6, atol=0)


def test_pixels_that_are_left_out_do_not_count() -> None:
    masks = MASKS.clone()
    masks[:, 0] = -100
    for name, options in (("DiceLoss", {}), ("TverskyLoss", {"alpha": 0.3, "beta": 0.7})):
        loss = build(name, **options)
        assert_close(loss(LOGITS, masks), loss(LOGITS[:, :, 1:], MASKS[:, 1:]))
