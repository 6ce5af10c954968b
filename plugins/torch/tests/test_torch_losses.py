"""Losses of torch: their values, the divisors of their means, and invalid weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf_torch import losses


def logits(num_samples: int = 6, num_classes: int = 4) -> Tensor:
    return torch.randn(num_samples, num_classes, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]]).float()
CLASSES = torch.tensor([0, 3, 1, 1, -100, 2])


def test_multi_label_margin_takes_labels_of_0_and_1() -> None:
    indices = torch.tensor(
        [[0, 2, -1, -1], [-1, -1, -1, -1], [0, 1, 2, 3], [3, -1, -1, -1], [1, -1, -1, -1], [0, 1, -1, -1]]
    )
    expected = nn.functional.multilabel_margin_loss(logits(), indices, reduction="none")
    assert torch.equal(losses.build("MultiLabelMarginLoss", reduction="none")(logits(), LABELS), expected)


def test_soft_margin_takes_labels_of_0_and_1() -> None:
    signs = torch.where(LABELS > 0, 1.0, -1.0)
    made = losses.build("SoftMarginLoss", reduction="mean")
    assert torch.equal(made(logits(), LABELS), nn.functional.soft_margin_loss(logits(), signs))


def test_kl_divergence_defaults_to_its_definition() -> None:
    (default,) = [row.default for row in losses.MEMBERS["KLDivLoss"].parameters() if row.name == "reduction"]
    predictions = logits().log_softmax(1)
    shares = logits().flip(0).softmax(1)
    expected = (shares * (shares.log() - predictions)).sum(1).mean()
    torch.testing.assert_close(losses.build("KLDivLoss", reduction=default)(predictions, shares), expected)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5, 0.25]])
def test_weighted_means_of_batches_combine_to_the_whole_mean(name: str, weight: Any) -> None:
    made: Any = losses.build(name, num_outputs=4, weight=weight)
    predictions = logits().log_softmax(1)
    batches = [(predictions[:4], CLASSES[:4]), (predictions[4:], CLASSES[4:])]
    total = torch.stack([made(*batch) * made.total_weight(batch[1]) for batch in batches]).sum()
    expected = made(predictions, CLASSES)
    torch.testing.assert_close(total / made.total_weight(CLASSES), expected)


def test_the_mean_over_soft_targets_divides_by_the_samples() -> None:
    made: Any = losses.build("CrossEntropyLoss", num_outputs=4, weight=[1.0, 2.0, 0.5, 0.25])
    shares = logits().flip(0).softmax(1)
    total = torch.stack([made(logits()[part], shares[part]) * len(shares[part]) for part in (slice(4), slice(4, 6))])
    assert made.total_weight(shares) == 6
    torch.testing.assert_close(total.sum() / made.total_weight(shares), made(logits(), shares))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CrossEntropyLoss", {"weight": [1.0]}, "'torch/CrossEntropyLoss': option 'weight' has 1 weights; .* 4 pred"),
        ("MultiMarginLoss", {"weight": [1.0, -1.0, 1.0, 1.0]}, "give finite weights >= 0"),
        ("BCEWithLogitsLoss", {"pos_weight": [float("nan")] * 4}, "give finite weights >= 0"),
        ("MultiLabelSoftMarginLoss", {"weight": [0.0] * 4}, "not all of them 0"),
    ],
)
def test_weights_that_do_not_fit(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.build(name, num_outputs=4, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BCEWithLogitsLoss", {"pos_weight": [1.0, 2.0, 3.0, 4.0]}),
        ("MultiLabelSoftMarginLoss", {"weight": [1.0, 2.0, 3.0, 4.0]}),
    ],
)
def test_label_weights_equal_torchs(name: str, options: dict[str, list[float]]) -> None:
    expected = losses.MEMBERS[name].kind(**{option: torch.tensor(value) for option, value in options.items()})
    assert torch.equal(losses.build(name, num_outputs=4, **options)(logits(), LABELS), expected(logits(), LABELS))
