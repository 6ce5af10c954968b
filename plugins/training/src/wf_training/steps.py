"""How a batch becomes an update, by the step protocol of the optimizer: see `wf.traits.OptimizerTraits`.

The plain protocol stands in the trainer itself; these are the others, and the plain one where gradients are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wf.engine.figures import LOSS
from wf_base import Batch
from wf_base.random import TrainStream

if TYPE_CHECKING:
    from wf_training.trainer import SupervisedTrainer

Loss = Tensor | dict[str, Tensor]
"""The loss before an update, detached; of a loss with several terms these as well, by name."""


def plain(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The optimizer finds the gradients ready, which are added up from those of the batch's parts."""
    trainer.optimizer.zero_grad()
    loss = trainer.gradients(batch)
    for listen in trainer.before_update:
        listen()
    trainer.optimizer.step()
    return loss


def first(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The first step of a run: those that follow are computed in the trainer where model and loss are plain ones.

    Plain are a model of one tensor and a loss that is one scalar, whose mean is that of all processes.
    """
    loss = plain(trainer, batch)
    lone = isinstance(batch.inputs, Tensor) and isinstance(loss, Tensor)
    if trainer.is_plain and lone and not trainer.gradients.divides(batch):
        trainer.inline()
    return loss


def scaled(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The plain step where the loss is scaled: one whose gradients overflow is left out, and the scale lowered."""
    optimizer, scaler = trainer.optimizer, trainer.scaler
    assert scaler is not None
    optimizer.zero_grad()
    loss = trainer.gradients(batch)
    scaler.unscale_(optimizer)
    for listen in trainer.before_update:
        listen()
    scaler.step(optimizer)  # waits for the device
    scaler.update()
    optimizer._opt_called = True  # type: ignore[attr-defined]  # or a schedule warns of an update that was left out
    return loss


def closure(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The optimizer evaluates the batch as often as it likes."""
    evaluate = Evaluation(trainer, batch)
    step: Any = trainer.optimizer.step  # torch's stubs want a closure of a float
    step(evaluate)
    return evaluate.first


def two_step(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The optimizer finds the gradients ready, and evaluates the batch once more at other weights."""
    evaluate = Evaluation(trainer, batch)
    evaluate()
    step: Any = trainer.optimizer.step
    step(evaluate)
    return evaluate.first


def create_graph(trainer: SupervisedTrainer, batch: Batch) -> Loss:
    """The gradients come with the graph that a second derivative needs."""
    evaluate = Evaluation(trainer, batch, create_graph=True)
    evaluate()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)  # a parameter and its gradient's graph hold each other
    return evaluate.first


UPDATES: dict[str, Callable[[SupervisedTrainer, Batch], Loss]] = {
    "closure": closure,
    "two_step": two_step,
    "create_graph": create_graph,
}
"""What makes one update, by protocol; each gives the loss before it, detached."""


def gradient_clearer(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """What sets the gradients to None before each backward pass.

    `torch.optim.Optimizer.zero_grad` does so under a label for the profiler and a switch for the compiler, which cost
    more than the clearing; benchmarks/loop_overhead.py counts the calls. An optimizer that has its own keeps it.
    """
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        return optimizer.zero_grad

    def clear() -> None:
        for group in optimizer.param_groups:  # a hook may add a group
            for parameter in group["params"]:
                parameter.grad = None

    return clear


class Evaluation:
    """Computes loss and gradients of one batch, over and over with the same random numbers.

    The first evaluation is an ordinary one. Each later one draws the random numbers of the first, and leaves generators
    and buffers (running means, ...) as it found them. Of several processes each one evaluates its own batch, and all
    get the mean of their losses: an optimizer decides by it, and must decide alike in all of them.

    Args:
        trainer: Has model, loss, optimizer and those who are told of new gradients.
        batch: What is evaluated.
        create_graph: Keep the graph of the gradients.
    """

    def __init__(self, trainer: SupervisedTrainer, batch: Batch, *, create_graph: bool = False) -> None:
        self._trainer, self._batch, self._create_graph = trainer, batch, create_graph
        self._random: dict[str, Any] | None = None
        self.first: Loss
        """The loss of the first evaluation, detached."""

    def __call__(self) -> Tensor:
        """Clear the gradients, compute loss and gradients, and tell of them; gives the loss, detached."""
        if self._random is None:
            self._random = TrainStream().state_dict()
            self.first = self._evaluate()
            return self._shared(self.first)
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
                    setattr(module, name, buffer)  # a module may have put another tensor in its place

    def _buffers(self) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
        """Every buffer of model and loss: whose it is, its name, itself, and its present values."""
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
