from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf.errors import UsageError
from wf_losses.binary import BCELoss, BCEWithLogitsLoss
from wf_losses.common import Loss, Reduction
from wf_losses.regression import L1Loss, MSELoss

PAIRS = [
    (L1Loss, F.l1_loss),
    (MSELoss, F.mse_loss),
    (BCELoss, F.binary_cross_entropy),
    (BCEWithLogitsLoss, F.binary_cross_entropy_with_logits),
]
LOSSES = [loss for loss, _ in PAIRS]


def probabilities_and_targets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    predictions = torch.rand(37, 3, generator=generator).requires_grad_()
    return predictions, (torch.rand(37, 3, generator=generator) > 0.5).float()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("loss", "function"), PAIRS)
def test_has_the_bits_of_torch(loss: type[Loss], function: Callable[..., Tensor], reduction: Reduction) -> None:
    predictions, targets = probabilities_and_targets()
    ours = loss(reduction)(predictions, targets)
    theirs = function(predictions, targets, reduction=reduction)
    assert torch.equal(ours, theirs)
    (gradient,) = torch.autograd.grad(ours.sum(), predictions, retain_graph=True)
    assert torch.equal(gradient, torch.autograd.grad(theirs.sum(), predictions)[0])


@pytest.mark.parametrize("loss", LOSSES)
def test_refuses_shapes_that_would_broadcast(loss: type[Loss]) -> None:
    with pytest.raises(UsageError, match=r"predictions \[5, 1\] and targets \[5\] differ"):
        loss()(torch.rand(5, 1), torch.ones(5))


@pytest.mark.parametrize("loss", LOSSES)
def test_refuses_an_unknown_reduction(loss: type[Loss]) -> None:
    with pytest.raises(UsageError, match="'reduction' is 'maen'; choose from mean, sum, none"):
        loss("maen")  # type: ignore[arg-type]  # the mistake under test


def test_bce_logits_is_finite_for_extreme_logits() -> None:
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4], requires_grad=True)
    loss = BCEWithLogitsLoss()(logits, torch.tensor([0.0, 1.0, 1.0, 0.0]))
    loss.backward()
    assert loss.item() == 5e3
    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0, 0.0, -0.25, 0.25]


def test_repr_shows_the_options() -> None:
    assert str(L1Loss("sum")) == "L1Loss(reduction='sum')"
