"""The contrastive loss compared with its formula, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from wf.errors import UsageError
from wf_losses.contrastive import NTXentLoss


def written_out(embeddings: torch.Tensor, targets: torch.Tensor, temperature: float) -> float:
    """Equation 1 of Chen et al. for two views, equation 2 of Khosla et al. for more."""
    rows, losses = functional.normalize(embeddings.double(), dim=1), []
    for i in range(len(rows)):
        others = [k for k in range(len(rows)) if k != i]
        total = sum(math.exp(float(rows[i] @ rows[k]) / temperature) for k in others)
        same = [k for k in others if targets[k] == targets[i]]
        if same:
            each = [-math.log(math.exp(float(rows[i] @ rows[p]) / temperature) / total) for p in same]
            losses.append(sum(each) / len(same))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("targets", [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 2], [5, 5, 5, 5, 5, 5]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_equals_the_written_out_formula(targets: list[int], temperature: float) -> None:
    torch.manual_seed(0)
    embeddings, classes = torch.randn(6, 4, requires_grad=True), torch.tensor(targets)
    loss = NTXentLoss(temperature)(embeddings, classes)
    assert loss.item() == pytest.approx(written_out(embeddings.detach(), classes, temperature), rel=1e-5)
    loss.backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_samples_without_a_partner_give_loss_zero() -> None:
    embeddings = torch.randn(3, 4, requires_grad=True)
    loss = NTXentLoss()(embeddings, torch.arange(3))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None
    assert embeddings.grad.eq(0).all()


def test_half_precision_is_computed_in_single() -> None:
    embeddings, targets = torch.randn(8, 4), torch.arange(4).repeat(2)
    half = NTXentLoss(0.05)(embeddings.half(), targets)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(NTXentLoss(0.05)(embeddings.half().float(), targets)))


@pytest.mark.parametrize(("embeddings", "targets"), [((4, 3, 2, 2), (4, 2, 2)), ((4, 3), (4, 3)), ((4,), (4,))])
def test_wrong_shapes_are_refused(embeddings: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"takes embeddings \[M, D\] and targets \[M\], one each, and got"):
        NTXentLoss()(torch.randn(embeddings), torch.zeros(targets, dtype=torch.int64))


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_temperatures_out_of_range(temperature: float) -> None:
    with pytest.raises(UsageError, match="finite and above 0"):
        NTXentLoss(temperature)
