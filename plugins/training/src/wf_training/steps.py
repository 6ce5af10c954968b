"""Updates from a batch, by the optimizer's step protocol: see `wf.traits.OptimizerTraits`.

The plain protocol is inlined in the trainer; these are the others, and the plain one with accumulated gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wf.engine.figures import LOSS
from wf.errors import UsageError
from wf_base import Batch, tree
from wf_base.random import TrainStream

if TYPE_CHECKING:
    from wf_training.trainer import SupervisedTrainer

Loss = Tensor | dict[str, Tensor]
"""The loss before an update, detached; with several terms a dict that includes them."""


def plain(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """Accumulate gradients over the batch's parts, then step."""
    trainer.optimizer.zero_grad()
    loss = trainer.gradients(batch)
    for listen in trainer.before_update:
        listen()
    trainer.optimizer.step()
    return loss


def first(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The first step of a run; if model and loss are plain, later steps are inlined in the trainer.

    Plain means a loss that is one scalar and a mean over all processes. A model of several tensors has its own step.
    """
    loss, objective = plain(trainer, batch), trainer.supervised
    if objective is not None and objective.is_scalar and not trainer.gradients.divides(batch):
        trainer.inline(None if isinstance(batch.inputs, Tensor) else of_trees)
    return loss


def of_trees(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The plain step of a model that takes several tensors."""
    assert trainer.loss is not None
    loss: Tensor = trainer.loss(tree.call(trainer.model, batch.inputs), batch.targets)
    trainer.clear_gradients()
    loss.backward()
    for listen in trainer.before_update:
        listen()
    trainer.optimizer.step()
    return loss


def scaled(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The plain step with loss scaling: a step whose gradients overflow is skipped, and the scale lowered."""
    optimizer, scaler = trainer.optimizer, trainer.scaler
    assert scaler is not None
    optimizer.zero_grad()
    loss = trainer.gradients(batch)
    scaler.unscale_(optimizer)
    for listen in trainer.before_update:
        listen()
    scaler.step(optimizer)  # waits for the device
    scaler.update()
    optimizer._opt_called = True  # type: ignore[attr-defined]  # otherwise a schedule warns about a skipped update
    return loss


def closure(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The optimizer evaluates the batch any number of times."""
    evaluate = Evaluation(trainer, batch)
    step: Any = trainer.optimizer.step  # torch's stubs expect a closure that returns a float
    step(evaluate)
    return evaluate.first


def two_step(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The optimizer uses the gradients, and evaluates the batch once more at different weights."""
    evaluate = Evaluation(trainer, batch)
    evaluate()
    step: Any = trainer.optimizer.step
    step(evaluate)
    return evaluate.first


def create_graph(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The gradients keep the graph for second derivatives."""
    evaluate = Evaluation(trainer, batch, create_graph=True)
    evaluate()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)  # a parameter and its gradient's graph form a reference cycle
    return evaluate.first


UPDATES: dict[str, Callable[[SupervisedTrainer, Batch], Loss]] = {
    "closure": closure,
    "two_step": two_step,
    "create_graph": create_graph,
}
"""The update functions by protocol; each returns the loss before the update, detached."""


def gradient_clearer(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """A function that sets the gradients to None before each backward pass.

    `torch.optim.Optimizer.zero_grad` does so inside a profiler label and a compiler switch, which cost
    more than the clearing; benchmarks/loop_overhead.py counts the calls. An optimizer with its own method keeps it.
    """
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        return optimizer.zero_grad

    def clear() -> None:
        for group in optimizer.param_groups:  # a hook may add a group
            for parameter in group["params"]:
                parameter.grad = None

    return clear


class Evaluation:
    """Computes loss and gradients of one batch, repeatedly with the same random numbers.

    The first evaluation is an ordinary one. Later ones reuse its random numbers, and restore generators
    and buffers (running means, ...). With several processes, each evaluates its own batch, and all
    get the mean of their losses, because the optimizer must decide the same in all of them.

    Args:
        trainer: Has model, loss, optimizer and the gradient listeners.
        batch: The batch.
        create_graph: Keep the graph of the gradients.
    """

    def __init__(self, trainer: SupervisedTrainer, batch: Batch, *, create_graph: bool = False) -> None:
        self._trainer, self._batch, self._create_graph = trainer, batch, create_graph
        self._random: dict[str, Any] | None = None
        self._first: Loss | None = None

    @property
    def first(self) -> Loss:
        """The loss of the first evaluation, detached.

        Raises:
            UsageError: If the optimizer evaluated nothing.
        """
        if self._first is None:
            raise UsageError(
                f"{type(self._trainer.optimizer).__name__}.step(closure) never called its closure, as an optimizer of "
                'step protocol closure must\n  if it needs none, declare OptimizerTraits(step="plain")'
            )
        return self._first

    def __call__(self) -> Tensor:
        """Clear the gradients, compute loss and gradients, and call the listeners; returns the loss, detached."""
        if self._random is None:
            self._random = TrainStream().state_dict()
            self._first = self._evaluate()
            return self._shared(self._first)
        return self._shared(self._again(self._random))

    def _again(self, random: dict[str, Any]) -> Loss:
        stream = TrainStream()
        present, buffers = stream.state_dict(), self._buffers()
        stream.load_state_dict(random)
        try:
            return self._evaluate()
        finally:
            stream.load_state_dict(present)
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    buffer.copy_(value)
                    setattr(module, name, buffer)  # a module may have replaced the tensor

    def _buffers(self) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
        """Every buffer of model and loss: its module, name, tensor, and current values."""
        parts = [part for part in (self._trainer.model, self._trainer.loss) if isinstance(part, nn.Module)]
        modules = [module for part in parts for module in part.modules()]
        return [
            (module, name, buffer, buffer.clone())
            for module in modules
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def _shared(self, found: Loss) -> Tensor:
        loss, strategy = found if isinstance(found, Tensor) else found[LOSS], self._trainer.strategy
        if strategy is None or strategy.world_size == 1:
            return loss
        total: Tensor = strategy.sum([loss])[0]
        return total / strategy.world_size

    @torch.enable_grad()
    def _evaluate(self) -> Loss:
        trainer = self._trainer
        trainer.optimizer.zero_grad()
        loss = trainer.gradients(self._batch, create_graph=self._create_graph)
        for listen in trainer.before_update:
            listen()
        return loss
