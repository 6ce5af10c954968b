"""The supervised trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf.runtime import Batch

if TYPE_CHECKING:
    from wf import Loop


class SupervisedTrainer:
    """Trains a model on (inputs, targets) by backpropagation: forward, loss, backward, step.

    Its bits are those of the hand-written loop.

    Args:
        model: The model as it is trained.
        loss: Called with (predictions, targets); gives a scalar.
        optimizer: Has the parameters of model and loss.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure that a scheduler of interval ``evaluation`` is given, unless it has a `monitor` of its own.
    """

    before_update: Sequence[Callable[[], None]] = ()
    """Called between the backward pass and the optimizer's step; the loop fills it."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        scheduler_interval: str,
        monitor: str,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._scheduler, self._interval = scheduler, scheduler_interval
        self._monitor: str = getattr(scheduler, "monitor", monitor)
        self._each_step = scheduler if scheduler_interval == "step" else None

    def train_step(self, batch: Batch) -> Tensor:
        """Make one update.

        Args:
            batch: ``inputs [N, ...]`` and ``targets [N, ...]`` on the model's device.

        Returns:
            The loss before the update, 0-d, detached, on its device.
        """
        loss = self.loss(self.model(batch.inputs), batch.targets)
        self.optimizer.zero_grad()
        loss.backward()
        for listen in self.before_update:
            listen()
        self.optimizer.step()
        if self._each_step is not None:
            self._each_step.step()
        return loss.detach()

    def read(self, losses: Sequence[Tensor]) -> list[float]:
        """The losses as numbers, in one transfer: the host waits for the device here."""
        return torch.stack(list(losses)).tolist() if losses else []

    def on_run_start(self, run: Loop) -> None:
        """Switch the model to training."""
        self.model.train()

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Step a scheduler that watches an evaluation."""
        if self._scheduler is not None and self._interval == "evaluation" and self._monitor.startswith(f"{split}/"):
            value = run.metrics.get(self._monitor)
            if value is not None and not run.finished:
                self._scheduler.step(value)

    def on_epoch_end(self, run: Loop) -> None:
        """Step a scheduler that counts epochs."""
        if self._scheduler is not None and self._interval == "epoch":
            self._scheduler.step()
