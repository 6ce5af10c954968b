"""Terms of a loss: how they are added up, and what a loss may return."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_base import Batch, Outcome, Supervised, Term
from wf_base.training.objective import added, outcome_of, total_weight

BATCH = Batch(torch.ones(2, 3), torch.tensor([0, 1]), None, None, 2)


def test_terms_are_added_each_times_its_factor() -> None:
    one, two, factor = torch.tensor(3.0), torch.tensor(5.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    assert added([(one, 1.0)]) is one
    assert added([(one, 1)]) is one
    assert added([(one, 0.5), (two, 1.0), (one, 1.0)]).item() == 9.5
    total = added([(one, 1.0), (two, factor)])
    total.backward()
    assert (total.item(), two.grad, factor.grad) == (13.0, torch.tensor(2.0), torch.tensor(5.0))
    unit = torch.tensor(1.0, requires_grad=True)
    assert added([(one, unit)]).requires_grad, "a factor that is trained keeps its gradient at 1"
    outcome = Outcome({"a": Term(value=one, factor=0.5), "b": Term(value=two, factor=factor)})
    assert outcome.loss.item() == 11.5


def test_returned_losses_become_terms() -> None:
    value, outputs = torch.tensor(3.0), torch.ones(2)
    plain = outcome_of(value, outputs)
    assert plain.terms == {"loss": Term(value=value)}
    assert plain.outputs is outputs
    term = Term(value=value, factor=2.0, reduction="sum", weight=3.0)
    several = outcome_of({"a": value, 7: term}, reduction="sum")
    assert several.terms == {"a": Term(value=value, reduction="sum"), "7": term}
    assert several.terms["7"] is term
    assert several.outputs is None
    for reduction in ("mean", "none", "batchmean"):
        assert outcome_of(value, reduction=reduction).terms["loss"].reduction == "mean"
    own = Outcome({"a": term}, "mine")
    assert outcome_of(own, outputs) is own
    filled = outcome_of(Outcome({"a": term}), outputs)
    assert (filled.terms, filled.outputs) == ({"a": term}, outputs)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3.0, "the loss returned float\n  it must be a tensor"),
        ({"loss": 3.0}, "the loss returned float\n  it must be a tensor"),
        ({"a": None}, "the loss returned NoneType for 'a'\n  it must be a tensor"),
        (torch.ones(2, 1), "the loss returned a tensor of shape [2, 1]\n  it must be one number"),
        ({"a": torch.ones(2)}, "the loss returned a tensor of shape [2] for 'a'\n  it must be one number"),
        ({}, "the loss returned an empty dict; it must return a scalar, or a dict of scalars by name"),
    ],
)
def test_invalid_return_values_of_a_loss_are_refused(value: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        outcome_of(value)
    assert str(caught.value).startswith(words)


def test_the_objective_of_a_model_and_a_loss() -> None:
    model, loss = nn.Linear(3, 2), nn.CrossEntropyLoss(reduction="sum")
    objective = Supervised(model, loss)
    assert (objective.is_scalar, objective.weights(BATCH), objective.unshared) == (False, None, nullcontext)
    outcome = objective.step(BATCH)
    assert outcome.outputs is not None
    assert torch.equal(outcome.outputs, model(BATCH.inputs))
    assert torch.equal(outcome.loss, loss(model(BATCH.inputs), BATCH.targets))
    assert (objective.is_scalar, outcome.terms["loss"].reduction) == (True, "sum")
    own = Supervised(model, lambda outputs, targets: {"a": outputs.sum()})
    assert own.step(BATCH).terms["a"].reduction == "mean"
    assert not own.is_scalar
    shared = SimpleNamespace(no_sync=lambda: "apart")
    assert Supervised(shared, loss).unshared() == "apart"  # type: ignore[arg-type,comparison-overlap]  # a stand-in


def test_the_weight_of_a_loss_is_its_own_divisor() -> None:
    def loss(weigh: Any) -> Any:
        return SimpleNamespace(total_weight=weigh)

    targets = BATCH.targets
    assert total_weight(loss(lambda given: given.sum()), targets) == 1
    assert total_weight(loss(3), targets) is None
    assert total_weight(object(), targets) is None
    for given, weights in ((None, None), (4.0, {"loss": 4.0}), ({"a": 1.0}, {"a": 1.0})):
        assert Supervised(nn.Identity(), loss(lambda _, given=given: given)).weights(BATCH) == weights
