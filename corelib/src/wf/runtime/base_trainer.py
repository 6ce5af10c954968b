"""A base for trainers: write the loss of a batch, and everything else comes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf.component import FromRun
from wf.errors import UsageError, unknown
from wf.figures import LOSS, Monitor
from wf.protocols import Strategy
from wf.runtime.data import Batch
from wf.runtime.gradients import Gradients
from wf.runtime.objective import Outcome, Weights, outcome_of

if TYPE_CHECKING:
    from wf.loop import Loop


class BaseTrainer:
    """A trainer whose one method to write is `compute_loss`.

    Accumulation, precision, clipping, learning rate schedules, records and exact resume come with it. Where a step
    updates several optimizers, write `step` instead, and call `update` for each.

    Args:
        model: The model as it is trained; call it, never its methods.
        optimizer: Has the parameters of the model; None for a trainer that makes its own, see `optimizers`.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure that a scheduler of interval ``evaluation`` is given, unless it has a `monitor` of its own.
        strategy: Where several processes train together.
        accumulate: Batches whose gradients make one update; they come as one batch.
        batch_size: Samples in each of them.
        scaler: Scales the loss where gradients are computed in fp16.
    """

    before_update: Sequence[Callable[[], None]] = ()
    """Called whenever gradients have been computed, before the optimizer uses them; the loop fills it."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Annotated[torch.optim.Optimizer | None, FromRun("optimizer")] = None,
        scheduler: Annotated[LRScheduler | None, FromRun("scheduler")] = None,
        scheduler_interval: Annotated[str, FromRun("scheduler_interval")] = "epoch",
        monitor: Annotated[str, FromRun("monitor")] = "validation/loss",
        strategy: Annotated[Strategy | None, FromRun("strategy")] = None,
        accumulate: Annotated[int, FromRun("accumulate")] = 1,
        batch_size: Annotated[int | None, FromRun("batch_size")] = None,
        scaler: Annotated[torch.amp.GradScaler | None, FromRun("scaler")] = None,
    ) -> None:
        self.model, self.strategy, self.scaler = model, strategy, scaler
        self.optimizers: dict[str, torch.optim.Optimizer] = {} if optimizer is None else {LOSS: optimizer}
        """What `update` steps, by name. Those that a trainer adds are saved in checkpoints with it."""
        self._of_run = optimizer
        self._part_size = batch_size if accumulate > 1 else None
        self._batch: Batch | None = None
        self._figures: dict[str, Tensor] = {}
        self._scheduler: Any = scheduler  # torch's classes differ in what step() takes
        self._interval = scheduler_interval
        self._monitor = Monitor.read(getattr(scheduler, "monitor", monitor))
        self._watches = scheduler is not None and scheduler_interval == "evaluation"
        self._each_step = scheduler if scheduler_interval == "step" else None
        self._read_after: str | None = self._monitor.split

    def compute_loss(self, batch: Batch) -> Outcome | Mapping[str, Any] | Tensor:
        """The loss of a batch, with its graph: a scalar, a dict of scalars by name, or an `Outcome`."""
        raise NotImplementedError(f"{type(self).__name__} has neither compute_loss(batch) nor step(batch)")

    def weights(self, batch: Batch) -> Weights | None:
        """What each term of the loss averages over, from the targets; None for samples. See `Objective.weights`."""
        return None

    def step(self, batch: Batch) -> None:
        """Update everything that is trained from one batch."""
        self.update(LOSS, self.compute_loss)

    def update(self, name: str, compute: Callable[[Batch], Outcome | Mapping[str, Any] | Tensor]) -> None:
        """Make one update with one of `optimizers`.

        The batch is that of the step, or each of its parts where gradients are accumulated.

        Args:
            name: The optimizer's; its loss is recorded as ``loss/NAME``.
            compute: Gives the loss of a batch as `compute_loss` does.

        Raises:
            UsageError: When there is no such optimizer.
        """
        if name not in self.optimizers:
            raise UsageError(unknown("optimizer", name, self.optimizers, of=type(self).__name__))
        assert self._batch is not None
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        objective = _Own(self.model, compute, self.weights)
        found = Gradients(objective, self._part_size, self.scaler, self.strategy)(self._batch)
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        for listen in self.before_update:
            listen()
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)  # waits for the device
        self._note(name, found)

    def train_step(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Make the updates of one batch; gives the loss before them, and the parts it consists of by name."""
        self._batch, self._figures = batch, {}
        self.step(batch)
        if self.scaler is not None:
            self.scaler.update()
        if self._each_step is not None:
            self._each_step.step()
        if not self._figures:
            raise UsageError(f"{type(self).__name__}.step made no update: it must call self.update")
        figures, self._batch = self._figures, None
        return figures[LOSS] if len(figures) == 1 else figures

    def read(self, losses: Sequence[Any]) -> list[Any]:
        """The losses as numbers, in one transfer: the host waits for the device here."""
        return read_losses(losses)

    @property
    def parts(self) -> dict[str, Any]:
        """What checkpoints hold of it: the optimizers that it made itself; the run saves its own."""
        return {f"optimizer-{name}": one for name, one in self.optimizers.items() if one is not self._of_run}

    def on_run_start(self, run: Loop) -> None:
        """Switch the model to training.

        Raises:
            UsageError: When the scheduler watches a split that the run does not evaluate.
        """
        self.model.train()
        evaluated = run.eval_splits if run.evaluator is not None and run.eval_every is not None else ()
        self._read_after = self._monitor.read_after(evaluated)
        if self._watches and self._read_after is None:
            raise UsageError(
                f"the scheduler watches '{self._monitor.figure}', but the run does not evaluate "
                f"'{self._monitor.split}' while it trains\n"
                f"  evaluated: {', '.join(evaluated) or 'nothing'}\n"
                "  add the split to --eval-splits, or set --scheduler.monitor"
            )
        if self._watches and self._read_after == self._monitor.split:
            self._monitor.check(getattr(run.evaluator, "figures", None), "--scheduler.monitor")

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Step a scheduler that watches an evaluation.

        Raises:
            UsageError: When the evaluation does not yield what it watches.
        """
        if self._watches and not run.finished and split == self._read_after:
            self._scheduler.step(self._monitor.value(run.metrics, "the scheduler", "--scheduler.monitor"))

    def on_epoch_end(self, run: Loop) -> None:
        """Step a scheduler that counts epochs."""
        if self._scheduler is not None and self._interval == "epoch":
            self._scheduler.step()

    def _note(self, name: str, found: Tensor | Mapping[str, Tensor]) -> None:
        """Take in the figures of an update; the loss of a step is the sum of those of its updates."""
        own = found if isinstance(found, Mapping) else {LOSS: found}
        if name != LOSS:
            own = {f"{LOSS}/{name}{key.removeprefix(LOSS)}": value for key, value in own.items()}
        loss = own[LOSS if name == LOSS else f"{LOSS}/{name}"]
        before = self._figures.get(LOSS)
        self._figures.update({**own, LOSS: loss if before is None else before + loss})


class _Own:
    """What a trainer computes itself, as an objective."""

    def __init__(
        self, model: nn.Module, compute: Callable[[Batch], Any], weights: Callable[[Batch], Weights | None]
    ) -> None:
        self._compute, self.weights = compute, weights
        if hasattr(model, "no_sync"):
            self.unshared = model.no_sync

    def step(self, batch: Batch) -> Outcome:
        return outcome_of(self._compute(batch))


def read_losses(losses: Sequence[Any]) -> list[Any]:
    """Losses, or dicts of them by name, as numbers, in one transfer: the host waits for the device here."""
    flat = [value for loss in losses for value in (loss.values() if isinstance(loss, Mapping) else (loss,))]
    numbers = iter(torch.stack(flat).tolist() if flat else ())
    return [{name: next(numbers) for name in loss} if isinstance(loss, Mapping) else next(numbers) for loss in losses]
