"""Base class of trainers: implement the loss of a batch and inherit everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf.declarations.component import FromRun
from wf.engine.figures import LOSS, TRAIN, Monitor, two_sources
from wf.errors import UsageError, unknown
from wf.protocols import Strategy
from wf_base.data import Batch
from wf_base.training.gradients import Gradients
from wf_base.training.objective import Outcome, Weights, outcome_of

if TYPE_CHECKING:
    from wf.engine.loop import Loop


class BaseTrainer:
    """A trainer that needs only one method: `compute_loss`.

    Accumulation, precision, clipping, learning rate schedules, records and exact resume are inherited. If a step uses
    several optimizers, implement `step` instead, and call `update` for each.

    Args:
        model: The model to train; call it, never its methods.
        optimizer: Has the parameters of the model; None for a trainer that makes its own, see `optimizers`.
        optimizers: The optimizers of the trainer's scopes, by name; None for a trainer without scopes.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure for a scheduler with interval ``evaluation``, unless it has its own `monitor`.
        strategy: Where several processes train together.
        accumulate: Batches whose gradients make one update; they come as one batch.
        batch_size: Samples in each of them.
        scaler: Scales the loss where gradients are computed in fp16.
    """

    told_last = True
    """So that a scheduler that watches a figure is stepped after the hooks have added theirs."""
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
        optimizers: Annotated[Mapping[str, torch.optim.Optimizer] | None, FromRun("optimizers")] = None,
    ) -> None:
        self.model, self.strategy, self.scaler = model, strategy, scaler
        given = dict(optimizers or {})
        self.optimizers: dict[str, torch.optim.Optimizer] = given if optimizer is None else {LOSS: optimizer, **given}
        """The optimizers that `update` steps, by name. Checkpoints save those that a trainer adds with the trainer."""
        self._of_run = tuple(self.optimizers.values())
        self._part_size = batch_size if accumulate > 1 else None
        self._batch: Batch | None = None
        self._figures: dict[str, Tensor] = {}
        self._recorded: dict[str, list[Tensor | float]] = {}
        self._scheduler: Any = scheduler  # torch's classes differ in what step() takes
        self._interval = scheduler_interval
        self._monitor = Monitor.read(getattr(scheduler, "monitor", monitor))
        self._watches = scheduler is not None and scheduler_interval == "evaluation"
        self._each_step = scheduler if scheduler_interval == "step" else None
        self._read_after = self._monitor.split

    def compute_loss(self, batch: Batch) -> Outcome | Mapping[str, Any] | Tensor:
        """The loss of a batch, with its graph: a scalar, a dict of scalars by name, or an `Outcome`."""
        raise NotImplementedError(f"{type(self).__name__} has neither compute_loss(batch) nor step(batch)")

    def weights(self, batch: Batch) -> Weights | None:
        """The weight of each term of the loss, from the targets; None: the number of samples. See
        `Objective.weights`."""
        return None

    def step(self, batch: Batch) -> None:
        """Make all updates from one batch."""
        self.update(LOSS, self.compute_loss)

    def update(self, name: str, compute: Callable[[Batch], Outcome | Mapping[str, Any] | Tensor]) -> None:
        """Make one update with one of `optimizers`.

        The batch is the step's, or each of its parts if gradients are accumulated.

        Args:
            name: The optimizer's name; its loss is recorded as ``loss/NAME``.
            compute: Returns the loss of a batch, as `compute_loss` does.

        Raises:
            UsageError: If there is no such optimizer.
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

    def record(self, name: str, value: Tensor | float) -> None:
        """Record a figure of the present step as ``train/NAME``; in an evaluation this does nothing.

        It stays on its device until the next record, which has the mean since the last one. Values given several times
        in a step, as for the parts of an accumulated update, are averaged.

        Args:
            name: Its name, which may be nested with slashes: ``gradient/norm``.
            value: One number.

        Raises:
            UsageError: For a value that is not a single number.
        """
        if type(self).train_step is not BaseTrainer.train_step:
            raise UsageError(
                f"{type(self).__name__} overrides train_step, which must return its figures: "
                f'{{"loss": loss, "{name}": value}}'
            )
        if self._batch is None:
            return
        if isinstance(value, Tensor) and value.ndim:
            raise UsageError(
                f"{type(self).__name__} recorded '{name}' of shape {list(value.shape)}\n"
                "  a figure of a step is one number, such as the mean"
            )
        own = value.detach() if isinstance(value, Tensor) else float(value)
        self._recorded.setdefault(name, []).append(own)

    def train_step(self, batch: Batch) -> Tensor | dict[str, Any]:
        """Make the updates of one batch; returns the loss before them, and its terms by name."""
        self._batch, self._figures, self._recorded = batch, {}, {}
        self.step(batch)
        if self.scaler is not None:
            self.scaler.update()
        if self._each_step is not None:
            self._each_step.step()
        if not self._figures:
            raise UsageError(f"{type(self).__name__}.step made no update: it must call self.update")
        figures: dict[str, Any] = {**self._figures, **self._own_figures()}
        self._batch = None
        return figures[LOSS] if len(figures) == 1 else figures

    def read(self, losses: Sequence[Any]) -> list[Any]:
        """The losses as numbers, in one transfer: the host waits for the device here.

        Of several processes the loss and its terms are those of all together; all of them must call it together.
        """
        if self.strategy is not None and self.strategy.world_size > 1:
            losses = _of_all(losses, self.strategy)
        return read_losses(losses)

    @property
    def parts(self) -> dict[str, Any]:
        """The parts saved in checkpoints: the optimizers that the trainer made itself; the run saves the others."""
        return {
            f"optimizer-{name}": one
            for name, one in self.optimizers.items()
            if not any(one is own for own in self._of_run)
        }

    def on_run_start(self, run: Loop) -> None:
        """Switch the model to training.

        Raises:
            UsageError: If the scheduler watches a figure that does not exist.
        """
        self.model.train()
        if self._watches:
            self._read_after = run.expect(self._monitor, "--scheduler.monitor", "the scheduler")

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Step a scheduler that watches an evaluation.

        Raises:
            UsageError: If the evaluation lacks the monitored figure.
        """
        if self._watches and not run.finished and split == self._read_after:
            self._scheduler.step(self._monitor.value(run.figures, "the scheduler", "--scheduler.monitor"))

    def on_epoch_end(self, run: Loop) -> None:
        """Step a scheduler that counts epochs."""
        if self._scheduler is not None and self._interval == "epoch":
            self._scheduler.step()

    def _own_figures(self) -> dict[str, Tensor | float]:
        """The values recorded in this step."""
        if twice := self._recorded.keys() & self._figures.keys():
            raise two_sources(f"{TRAIN}/{min(twice)}", f"{type(self).__name__}.update", f"{type(self).__name__}.record")
        return {name: sum(values) / len(values) for name, values in self._recorded.items()}

    def _note(self, name: str, found: Tensor | Mapping[str, Tensor]) -> None:
        """Add the figures of an update; the loss of a step is the sum of the losses of its updates."""
        own = found if isinstance(found, Mapping) else {LOSS: found}
        if name != LOSS:
            own = {f"{LOSS}/{name}{key.removeprefix(LOSS)}": value for key, value in own.items()}
        loss = own[LOSS if name == LOSS else f"{LOSS}/{name}"]
        before = self._figures.get(LOSS)
        self._figures.update({**own, LOSS: loss if before is None else before + loss})


class _Own:
    """The objective of a trainer with its own loss."""

    def __init__(
        self, model: nn.Module, compute: Callable[[Batch], Any], weights: Callable[[Batch], Weights | None]
    ) -> None:
        self._compute, self.weights = compute, weights
        if hasattr(model, "no_sync"):
            self.unshared = model.no_sync

    def step(self, batch: Batch) -> Outcome:
        return outcome_of(self._compute(batch))


def _of_all(losses: Sequence[Any], strategy: Strategy) -> list[Any]:
    """Losses and their terms as the means of what `Gradients` gave each process; other figures as they are."""
    dicts = [dict(loss) if isinstance(loss, Mapping) else {LOSS: loss} for loss in losses]
    shared = [(own, name) for own in dicts for name in own if name == LOSS or name.startswith(f"{LOSS}/")]
    wide = torch.float32 if strategy.device.type == "mps" else torch.float64
    values = [torch.as_tensor(own[name], dtype=wide) for own, name in shared]
    if values:
        mean = strategy.sum([torch.stack([value.to(strategy.device) for value in values])])[0] / strategy.world_size
        for (own, name), value in zip(shared, mean, strict=True):
            own[name] = value
    return [own if isinstance(loss, Mapping) else own[LOSS] for own, loss in zip(dicts, losses, strict=True)]


def read_losses(losses: Sequence[Any]) -> list[Any]:
    """Losses, or dicts of figures by name, as numbers, in one transfer: the host waits for the device here."""
    flat = [value for loss in losses for value in (loss.values() if isinstance(loss, Mapping) else (loss,))]
    tensors = [value for value in flat if isinstance(value, Tensor)]
    on_device = [value for value in tensors if value.device == tensors[0].device]
    if any(value.ndim for value in tensors):
        shapes = sorted({str(list(value.shape)) for value in tensors if value.ndim})
        raise UsageError(f"train_step gave a tensor of shape {' and '.join(shapes)}; each figure must be one number")
    read = iter(torch.stack(on_device).tolist() if tensors else ())
    if len(on_device) == len(flat):
        numbers = read
    else:
        there = set(map(id, on_device))
        numbers = iter([next(read) if id(value) in there else float(value) for value in flat])
    return [{name: next(numbers) for name in loss} if isinstance(loss, Mapping) else next(numbers) for loss in losses]
