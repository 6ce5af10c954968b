"""The supervised trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf.errors import UsageError, unknown
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
        self._scheduler: Any = scheduler  # torch's classes differ in what step() takes
        self._interval = scheduler_interval
        self._monitor: str = getattr(scheduler, "monitor", monitor)
        self._watches = scheduler is not None and scheduler_interval == "evaluation"
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
        """Switch the model to training.

        Raises:
            UsageError: When the scheduler watches a split that the run does not evaluate.
        """
        self.model.train()
        split = self._monitor.partition("/")[0]
        evaluated = run.eval_splits if run.evaluator is not None and run.eval_every is not None else ()
        if self._watches and split not in evaluated:
            raise UsageError(
                f"the scheduler watches '{self._monitor}', but the run does not evaluate '{split}' while it trains\n"
                f"  evaluated: {', '.join(evaluated) or 'nothing'}\n"
                "  add the split to --eval-splits, or set --scheduler.monitor"
            )

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Step a scheduler that watches an evaluation.

        Raises:
            UsageError: When the evaluation does not yield what it watches.
        """
        if not self._watches or run.finished or not self._monitor.startswith(f"{split}/"):
            return
        if self._monitor not in run.metrics:
            raise UsageError(unknown("figure in the scheduler's 'monitor':", self._monitor, run.metrics))
        self._scheduler.step(run.metrics[self._monitor])

    def on_epoch_end(self, run: Loop) -> None:
        """Step a scheduler that counts epochs."""
        if self._scheduler is not None and self._interval == "epoch":
            self._scheduler.step()
