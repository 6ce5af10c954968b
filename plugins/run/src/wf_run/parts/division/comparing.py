"""Whether loss and outputs of a batch are those of its parts, as in several processes or accumulated updates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wf.blame import FAILURES
from wf.engine.figures import LOSS
from wf_base import BaseTrainer, Batch, Outcome, TaskRuntime, tree
from wf_base.random import TrainStream
from wf_base.training.modes import evaluated
from wf_base.training.objective import Weights, outcome_of
from wf_base.tree import Tree

FEW = 16
"""The most samples that are tried."""
NUM_PARTS = 3
CLOSE = 1e-4
"""The largest difference, relative to the larger value, that counts as rounding by a loss of the same outputs."""
CLOSE_MODEL, CLOSE_ROUGH = 1e-3, 3e-2
"""The same of a model in float32, and in a lower precision: kernels depend on the number of samples."""


class Found(NamedTuple):
    """What a few samples show."""

    loss: tuple[float, float] | None = None
    """A term of the loss of all of them, and the mean of that of their parts, if these differ."""
    term: str = LOSS
    state: tuple[str, ...] = ()
    """The buffers of the loss that a call changes."""
    crosses: bool = False
    """Whether the outputs for a sample change with the other samples, in evaluation mode."""


class _Judge(NamedTuple):
    """How the loss of a batch is computed."""

    forward: Callable[[Tree], Tree]
    score: Callable[[Tree, Batch], Outcome]
    weights: Callable[[Batch], Weights | None]


def try_parts(
    model: nn.Module,
    loss: Any,
    bare_loss: Any,
    trainer: Any,
    task: TaskRuntime,
    batch: Batch,
    *,
    rough: bool = False,
) -> Found:
    """Compare a batch with its parts.

    The model, the loss and the generators are unchanged afterwards. What cannot be tried counts as equal: training
    reports an error.

    Args:
        model: The model, without the strategy's wrapper.
        loss: The loss of the trainer; None if it has none.
        bare_loss: The loss without links.
        trainer: The trainer; its own `compute_loss` is tried in place of `loss`.
        task: The task.
        batch: Some train samples, on the model's device.
        rough: Whether the model computes in a lower precision than float32.
    """
    size = -(-batch.size // NUM_PARTS)
    if batch.size < 2:
        return Found()
    try:
        with _kept_random(), evaluated(model), torch.no_grad():
            own, named = _alone(loss, bare_loss)
            judge = _judge(model, own, trainer, task)
            if judge is None:
                return Found()
            with _model_of(trainer, model):
                return _compared(judge, named, batch, size, CLOSE_ROUGH if rough else CLOSE_MODEL)
    except FAILURES:
        return Found()


def computes_own(trainer: Any) -> bool:
    """Whether a trainer has a loss of its own."""
    return isinstance(trainer, BaseTrainer) and type(trainer).compute_loss is not BaseTrainer.compute_loss


def _compared(judge: _Judge, loss: Any, batch: Batch, size: int, close: float) -> Found:
    parts = list(batch.split(size))
    outputs, again = (_wide(judge.forward(batch.inputs)) for _ in range(2))
    apart = _wide(tree.cat([judge.forward(part.inputs) for part in parts])) if outputs is not None else None
    crosses = _close(outputs, again, close) and not _close(outputs, apart, close)
    near = partial(_is_near, close=close if outputs is None else CLOSE)
    before = {name: one.clone() for name, one in loss.named_buffers()} if isinstance(loss, nn.Module) else {}
    with torch.enable_grad():
        wholes = [judge.score(outputs, batch) for _ in range(2)]
    state = tuple(name for name, one in before.items() if not torch.equal(one, dict(loss.named_buffers())[name]))
    if state or not all(near(*(float(one.terms[name].value) for one in wholes)) for name in wholes[0].terms):
        return Found(state=state, crosses=crosses)
    divided = [None] * len(parts) if outputs is None else list(tree.split(outputs, size))
    scored = [judge.score(own, part) for own, part in zip(divided, parts, strict=True)]
    for name, term in wholes[0].terms.items():
        mean = _mean(name, scored, parts, [judge.weights(part) or {} for part in parts])
        if mean is not None and not near(float(term.value), mean):
            return Found((float(term.value), mean), name, crosses=crosses)
    return Found(crosses=crosses)


def _mean(name: str, scored: Sequence[Outcome], parts: Sequence[Batch], weights: Sequence[Weights]) -> float | None:
    """A term from those of the parts, as `wf_base.training.gradients` adds them up; None if it has no value."""
    terms = [one.terms[name] for one in scored]
    values = [float(term.value) for term in terms]
    if terms[0].reduction == "sum":
        return sum(values)
    counts = [float(own.get(name, part.size)) for own, part in zip(weights, parts, strict=True)]
    total = sum(counts)
    return sum(value * count for value, count in zip(values, counts, strict=True) if count) / total if total else None


def _judge(model: nn.Module, loss: Any, trainer: Any, task: TaskRuntime) -> _Judge | None:
    """The loss as the trainer computes it; None if that is only known in a step."""
    if computes_own(trainer):
        return _Judge(lambda _: None, lambda _, batch: outcome_of(trainer.compute_loss(batch)), trainer.weights)
    if loss is None:
        return None
    objective: Any = task.bind(model, loss)
    return _Judge(objective.forward, objective.score, objective.weights) if hasattr(objective, "score") else None


def _alone(loss: Any, inner: Any) -> tuple[Any, Any]:
    """A copy of the loss, which keeps its own state, and the copy of the loss inside its links; weights are shared."""
    shared = {id(one): one for one in inner.parameters()} if isinstance(inner, nn.Module) else {}
    both: tuple[Any, Any] = copy.deepcopy((loss, inner), shared)
    return both


@contextmanager
def _model_of(trainer: Any, model: nn.Module) -> Iterator[None]:
    """The model itself in the trainer, as the wrapper counts its calls."""
    wrapped = getattr(trainer, "model", None)
    if wrapped is not None:
        trainer.model = model
    try:
        yield
    finally:
        if wrapped is not None:
            trainer.model = wrapped


@contextmanager
def _kept_random() -> Iterator[None]:
    stream = TrainStream()
    before = stream.state_dict()
    try:
        yield
    finally:
        stream.load_state_dict(before)


def _wide(outputs: Tree) -> Tree:
    """Outputs with the precision of a loss."""
    low = (torch.bfloat16, torch.float16)
    return tree.map_leaves(lambda leaf: leaf.float() if leaf.dtype in low else leaf, outputs)


def _close(outputs: Tree, others: Tree, close: float) -> bool:
    pairs = zip(tree.leaves(outputs), tree.leaves(others), strict=True)
    return all(_are_near(one, other, close) for (_, one), (_, other) in pairs)


def _are_near(one: Tensor, other: Tensor, close: float) -> bool:
    if one.shape != other.shape:
        return True  # of padding that depends on the batch
    scale = max(float(one.abs().max()), float(other.abs().max())) if one.numel() else 0.0
    return not float((one - other).abs().max()) > close * scale


def _is_near(one: float, other: float, close: float) -> bool:
    """Whether two values are equal but for rounding; what is not finite is not judged."""
    gap = abs(one - other)
    return not gap < float("inf") or gap <= close * max(abs(one), abs(other)) + 1e-7
