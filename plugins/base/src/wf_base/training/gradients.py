"""Loss and gradients of a batch, computed at once or in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wf.engine.figures import LOSS
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import tree
from wf_base.data import Batch
from wf_base.training.objective import Objective, Outcome, Term, Weights, added

Share = Tensor | float


@dataclass(frozen=True)
class _Shares:
    """The share of a part in the means of the whole update."""

    of_samples: float
    of_sums: float = 1.0
    of_terms: Mapping[str, Share] = field(default_factory=dict)

    def of(self, name: str, term: Term) -> Share:
        """The share of a term."""
        if term.reduction == "sum":
            return self.of_sums
        if name not in self.of_terms and term.weight is not None:
            raise UsageError(
                f"term '{name}' of the loss has its weight only after the forward, but accumulation and several "
                "processes need it before\n"
                "  compute it from the targets in weights(batch), or train with --accumulate 1 in one process"
            )
        return self.of_terms.get(name, self.of_samples)


class Gradients:
    """Accumulates the gradients of a batch, and returns its loss.

    Computed in parts or by several processes, they equal the gradients of the whole batch up to rounding: each part's
    terms are weighted by their share of the samples, or of `Objective.weights`. Layers and losses that use several
    samples together (batch norm, triplets) see the samples of one part only. The processes of a strategy exchange
    gradients once, after the last part.

    Args:
        objective: The objective.
        part_size: Samples in a part, of all processes together; None for one part.
        scaler: Scales the loss, and so the gradients.
        strategy: The strategy, if several processes train together; they average gradients.
    """

    def __init__(
        self,
        objective: Objective,
        part_size: int | None = None,
        scaler: torch.amp.GradScaler | None = None,
        strategy: Strategy | None = None,
    ) -> None:
        self._objective, self._scaler, self._strategy = objective, scaler, strategy
        self._num_processes = 1 if strategy is None else strategy.world_size
        self._part_size = None if part_size is None else -(-part_size // self._num_processes)
        self._unshared: Callable[[], AbstractContextManager[None]] = getattr(objective, "unshared", nullcontext)

    def __call__(self, batch: Batch, *, create_graph: bool = False) -> Tensor | dict[str, Tensor]:
        """Compute loss and gradients.

        Args:
            batch: On the model's device.
            create_graph: Keep the graph of the gradients.

        Returns:
            The loss, 0-d, detached, on its device; if its terms have names, a dict that also has these as
            ``loss/NAME``. Of several processes each has its part of the whole loss times their number: the mean of all
            is the whole loss.
        """
        parts = self._parts(batch)
        shares = self._shares(batch, parts)
        figures = []
        for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
            with nullcontext() if number + 1 == len(parts) else self._unshared():
                figures.append(self._add(part, share, create_graph=create_graph))
        if len(figures) > 1:
            figures = [{name: torch.stack([one[name] for one in figures]).sum() for name in figures[0]}]
        return figures[0][LOSS] if len(figures[0]) == 1 else figures[0]

    def divides(self, batch: Batch) -> bool:
        """Whether the loss of such a batch is computed in parts, or weighted by its share of all processes' batches."""
        return len(parts := self._parts(batch)) > 1 or self._shares(batch, parts) != [None]

    def _parts(self, batch: Batch) -> Sequence[Batch]:
        if getattr(batch, "parts", ()):
            return batch.parts
        if self._part_size is None or batch.size <= self._part_size:
            return [batch]
        return list(Batch(batch.inputs, batch.targets, None, None, batch.size).split(self._part_size))

    def _shares(self, batch: Batch, parts: Sequence[Batch]) -> Sequence[_Shares | None]:
        """The share of each part; None if there is only one."""
        if len(parts) == 1 and self._num_processes == 1:
            return [None]
        weights = [self._objective.weights(part) or {} for part in parts]
        whole = _added(weights) if getattr(batch, "parts", ()) else self._objective.weights(batch) or {}
        share = getattr(batch, "share", 1.0)  # batches of one's own have none
        sums = self._num_processes if share else 0.0
        if not share:
            weights = [{name: 0.0 * _wide(weight) for name, weight in own.items()} for own in weights]
            whole = {name: 0.0 * _wide(weight) for name, weight in whole.items()}
        if self._num_processes > 1 and whole:
            whole = self._of_all(whole)
        return [
            _Shares(of_samples, sums, self._of_terms(own, whole, of_samples))
            for part, own in zip(parts, weights, strict=True)
            for of_samples in (share * part.size / batch.size,)
        ]

    def _of_terms(self, own: Weights, whole: Weights, of_samples: float) -> Mapping[str, Share]:
        """The share of a part in each term that has weights; that of its samples if the term has none in any part."""
        found: dict[str, Share] = {}
        for name, weight in own.items():
            total, mine = whole[name], self._num_processes * _wide(weight)
            if isinstance(total, Tensor):
                found[name] = torch.where(total == 0, of_samples, mine / total)
            else:
                found[name] = mine / total if total else of_samples
        return found

    def _of_all(self, weights: Weights) -> Weights:
        """The weight of each term over all processes."""
        assert self._strategy is not None
        device = self._strategy.device
        tensors = [
            _wide(one.to(device) if isinstance(one, Tensor) else torch.full((), one, device=device))
            for one in weights.values()
        ]
        return dict(zip(weights, self._strategy.sum(tensors), strict=True))

    def _add(self, part: Batch, shares: _Shares | None, *, create_graph: bool) -> dict[str, Tensor]:
        outcome = self._objective.step(part)
        terms = {name: _shared(name, term, shares) for name, term in outcome.terms.items()}
        if shares is not None:
            terms = _without_what_does_not_count(terms, outcome, shares, shared=self._num_processes > 1)
        loss = added((terms[name], term.factor) for name, term in outcome.terms.items())
        if not loss.requires_grad:
            raise UsageError(
                "the loss returned a tensor without a gradient\n  it must be computed from the predictions, in "
                "torch, without detach(), item(), argmax() or torch.no_grad()"
            )
        _backward(loss if self._scaler is None else self._scaler.scale(loss), create_graph=create_graph)
        named = {} if terms.keys() == {LOSS} else {f"{LOSS}/{name}": value.detach() for name, value in terms.items()}
        return {LOSS: loss.detach(), **named}


def _shared(name: str, term: Term, shares: _Shares | None) -> Tensor:
    """A part's term, scaled to its share of the whole."""
    value, share = term.value, None if shares is None else shares.of(name, term)
    if isinstance(share, Tensor):  # the loss of a part with weight 0 is 0 / 0
        return torch.where(share == 0, 0.0, value * share.to(value.dtype))
    return value if share in (None, 1.0) else value * share


def _without_what_does_not_count(
    terms: dict[str, Tensor], outcome: Outcome, shares: _Shares, *, shared: bool
) -> dict[str, Tensor]:
    """The terms of a part, without the gradients of those that have no weight in it: a loss of 0 / 0 gives NaN.

    If nothing counts, the outputs' gradients are set to 0, and the host need not wait for the weight. If one of several
    terms has no weight, it becomes a constant.
    """
    leaves = [leaf for _, leaf in tree.leaves(outcome.outputs) if leaf.requires_grad]
    if shared and not leaves:  # outputs that are unknown: a process must use every parameter, with a gradient of 0
        return terms
    known = [shares.of(name, term) for name, term in outcome.terms.items()]
    weighted = {name: share for name, share in zip(outcome.terms, known, strict=True) if isinstance(share, Tensor)}
    if len(known) > 1 and weighted:
        is_empty = torch.stack(list(weighted.values())).eq(0).tolist()  # waits for the device
        empty = [name for name, nothing in zip(weighted, is_empty, strict=True) if nothing]
        if len(empty) < len(known):
            return {name: _constant(term, leaves) if name in empty else term for name, term in terms.items()}
    if len(weighted) == len(known):
        nothing = torch.stack(list(weighted.values())).eq(0).all()
        for leaf in leaves:
            leaf.register_hook(lambda gradient: torch.where(nothing, 0.0, gradient))
    return terms


def _constant(term: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """A term as a constant that gives the outputs a gradient of 0: several processes must use every parameter."""
    never = torch.zeros_like(term, dtype=torch.bool)
    return sum((torch.where(never, leaf, 0.0).sum() for leaf in leaves), term.detach())


def _added(weights: Sequence[Weights]) -> Weights:
    """The weights of several parts, added up."""
    found: dict[str, Any] = {}
    for own in weights:
        for name, weight in own.items():
            found[name] = found[name] + _wide(weight) if name in found else _wide(weight)
    return found


def _wide(weight: Share) -> Share:
    """In double precision if the device has it: the quotient of integers would have torch's default dtype."""
    if not isinstance(weight, Tensor) or weight.device.type == "mps":
        return weight
    return weight.detach().to(torch.float64)


def _backward(loss: Tensor, *, create_graph: bool) -> None:
    if not create_graph:
        loss.backward()
        return
    with warnings.catch_warnings():
        # The warning is about the reference cycle of parameter and gradient; `create_graph` resets the gradients, as
        # it advises.
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True", category=UserWarning)
        loss.backward(create_graph=True)
