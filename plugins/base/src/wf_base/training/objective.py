"""Objectives: the terms of a loss, their computation from a batch, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from wf.engine.figures import LOSS
from wf.errors import UsageError
from wf_base import tree
from wf_base.data import Batch
from wf_base.tree import Tree

Weights = Mapping[str, Tensor | float]
"""The weight of each term in a batch: tokens, pixels, boxes. Missing terms average over samples."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One of the values whose sum is minimized."""

    value: Tensor
    """0-d, with its graph in training."""
    factor: Tensor | float = 1.0
    """Its factor in the sum; a 0-d tensor if it is trained."""
    reduction: Literal["mean", "sum"] = "mean"
    """Whether it is a mean over a batch, or a sum, which does not shrink in a part of an update."""
    weight: Tensor | float | None = None
    """Its weight, if it is known only after the forward; see `Objective.weights`."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one batch: the terms of its loss, by name, and the model's outputs if known."""

    terms: Mapping[str, Term]
    outputs: Tree = None

    @property
    def loss(self) -> Tensor:
        """The sum of the terms, each times its factor."""
        return added((term.value, term.factor) for term in self.terms.values())


class Objective(Protocol):
    """The objective that a trainer minimizes. Evaluators use it if it is a `Judge`, too."""

    def weights(self, batch: Batch) -> Weights | None:
        """The weight of each term, from the targets, before any forward; None: the number of samples. Called by
        trainers."""

    def step(self, batch: Batch) -> Outcome:
        """The terms of a batch in training. Called by trainers."""


class Judge(Objective, Protocol):
    """An objective that gives evaluations a loss."""

    def forward(self, inputs: Tree) -> Tree:
        """The model outputs. Called by evaluators."""

    def score(self, outputs: Tree, batch: Batch) -> Outcome:
        """The terms of the loss of model outputs. Called by evaluators."""


class Supervised:
    """The objective of a model and a loss of its outputs and the targets.

    Args:
        model: Called by `wf_base.tree.call`.
        loss: Called with (outputs, targets); gives a scalar, or a dict of scalars by name, which are added up. Its
            method ``total_weight(targets)`` gives the divisor of its mean, if that is not the number of samples.
    """

    def __init__(self, model: Callable[..., Any], loss: Callable[[Any, Any], Any]) -> None:
        self.model, self.loss = model, loss
        self.unshared: Callable[[], AbstractContextManager[None]] = getattr(model, "no_sync", nullcontext)
        """A context in which processes do not share gradients."""
        self.is_scalar = False
        """Whether the loss last returned one number rather than a dict."""

    def weights(self, batch: Batch) -> Weights | None:
        """The weight of the loss; see `Objective`."""
        found = total_weight(self.loss, batch.targets)
        return found if found is None or isinstance(found, Mapping) else {LOSS: found}

    def step(self, batch: Batch) -> Outcome:
        """Forward and loss; see `Objective`."""
        return self.score(self.forward(batch.inputs), batch)

    def forward(self, inputs: Tree) -> Tree:
        """The model outputs; see `Judge`."""
        return tree.call(self.model, inputs)

    def score(self, outputs: Tree, batch: Batch) -> Outcome:
        """The loss of model outputs; see `Judge`."""
        value = self.loss(outputs, batch.targets)
        self.is_scalar = isinstance(value, Tensor)
        return outcome_of(value, outputs, getattr(self.loss, "reduction", "mean"))


def total_weight(loss: Any, targets: Tensor) -> Any:
    """The divisor of a loss that does not average over samples; None if it does."""
    weigh = getattr(loss, "total_weight", None)
    return weigh(targets) if callable(weigh) else None


def added(terms: Iterable[tuple[Tensor, Tensor | float]]) -> Tensor:
    """The sum of values, each times its factor."""
    total: Tensor | None = None
    for value, factor in terms:
        own = value if not isinstance(factor, Tensor) and factor == 1 else value * factor
        total = own if total is None else total + own
    assert total is not None
    return total


def outcome_of(value: Any, outputs: Tree = None, reduction: str = "mean") -> Outcome:
    """Convert the result of a loss to an outcome.

    Args:
        value: A scalar, a dict of scalars or of `Term` by name, or an outcome.
        outputs: The model's outputs.
        reduction: The reduction behind scalars: ``sum``, or anything else for a mean.

    Raises:
        UsageError: For anything else.
    """
    if isinstance(value, Outcome):
        return value if value.outputs is not None else Outcome(value.terms, outputs)
    named = value if isinstance(value, Mapping) else {LOSS: value}
    terms = {str(name): _term(name, one, reduction) for name, one in named.items()}
    if not terms:
        raise UsageError("the loss returned an empty dict; it must return a scalar, or a dict of scalars by name")
    return Outcome(terms, outputs)


def _term(name: Any, value: Any, reduction: str) -> Term:
    if isinstance(value, Term):
        return value
    what = f" for '{name}'" if name != LOSS else ""
    if not isinstance(value, Tensor):
        raise UsageError(
            f"the loss returned {type(value).__name__}{what}\n"
            "  it must be a tensor: compute it from the predictions, in torch"
        )
    if value.ndim:
        raise UsageError(
            f"the loss returned a tensor of shape {list(value.shape)}{what}\n"
            "  it must be one number, such as the mean over the samples, or a dict of numbers by name"
        )
    return Term(value=value, reduction="sum" if reduction == "sum" else "mean")
