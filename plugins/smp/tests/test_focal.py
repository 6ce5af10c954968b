"""The library's focal loss compared with wf's on the same logits: where they agree and where they differ."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot
from torch.testing import assert_close

from wf_losses.focal import FocalLoss
from wf_smp.losses import build

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(20, 4, 5, 6, generator=DRAW)
MASKS = torch.randint(4, (20, 5, 6), generator=DRAW)
LABELS = torch.randint(2, (20, 4), generator=DRAW).float()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_smp_focal_equals_focal_on_one_hot_targets(gamma: float, alpha: float | None) -> None:
    """smp's takes one sigmoid per class, so it equals wf's on one-hot targets, including alpha."""
    theirs = build("FocalLoss", gamma=gamma, alpha=alpha, ignore_index=-100)(LOGITS, MASKS)
    rows = one_hot(MASKS, 4).movedim(-1, 1).float()
    assert_close(theirs, FocalLoss(gamma=gamma, alpha=alpha)(LOGITS, rows))


def test_smp_focal_differs_from_softmax_focal() -> None:
    theirs = build("FocalLoss", ignore_index=-100)(LOGITS, MASKS)
    assert abs(theirs - FocalLoss()(LOGITS, MASKS)) > 0.1


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_binary_and_multilabel_are_the_same(alpha: float | None) -> None:
    ours = FocalLoss(alpha=alpha)
    logits = LOGITS[:, :, 0, 0]
    theirs = build("FocalLoss", alpha=alpha)(logits, LABELS)
    assert_close(theirs, ours(logits, LABELS))
    theirs = build("FocalLoss", alpha=alpha, ignore_index=-100)(logits[:, 0], LABELS[:, 0])
    assert_close(theirs, ours(logits[:, 0], LABELS[:, 0]))


def test_ignored_pixels_do_not_count_in_the_mean() -> None:
    masks = MASKS.clone()
    masks[:, 0] = -100
    loss = build("FocalLoss", ignore_index=-100)
    assert_close(loss(LOGITS, masks), loss(LOGITS[:, :, 1:], MASKS[:, 1:]))
    assert int(loss.total_weight(masks)) == 20 * 4 * 6  # type: ignore[operator]  # a module's attribute


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_smp_focal_sums_over_pixels_and_averages_over_classes(reduction: str) -> None:
    theirs = build("FocalLoss", reduction=reduction, ignore_index=-100)(LOGITS, MASKS)
    ours = FocalLoss(reduction="sum")(LOGITS, one_hot(MASKS, 4).movedim(-1, 1).float()) / 4
    assert_close(theirs, ours if reduction == "sum" else ours / MASKS.numel())


def test_dice_and_others_leave_out_ignored_pixels() -> None:
    masks = MASKS.clone()
    masks[:, 0] = -100
    for name in ("DiceLoss", "JaccardLoss", "TverskyLoss", "LovaszLoss"):
        loss = build(name, ignore_index=-100)
        assert_close(loss(LOGITS, masks), loss(LOGITS[:, :, 1:], MASKS[:, 1:]))


def test_dice_by_hand() -> None:
    shares, rows = LOGITS.softmax(1), one_hot(MASKS, 4).movedim(-1, 1).float()
    score = 2 * (shares * rows).sum((0, 2, 3)) / (shares + rows).sum((0, 2, 3))
    assert_close(build("DiceLoss", ignore_index=-100)(LOGITS, MASKS), (1 - score).mean())
