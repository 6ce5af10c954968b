"""The supervised trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf import FromRun
from wf.engine.figures import terms
from wf.errors import UsageError
from wf.protocols import Strategy
from wf.traits import OptimizerTraits
from wf_base import BaseTrainer, Batch, Supervised, TaskRuntime
from wf_base.training.gradients import Gradients
from wf_base.training.objective import Weights
from wf_training.compiling import compiled
from wf_training.freezing import Thawing
from wf_training.freezing import freeze as frozen_parts
from wf_training.layout import lay_out
from wf_training.steps import UPDATES, Loss, first, gradient_clearer, plain, scaled

if TYPE_CHECKING:
    from wf import Loop


class SupervisedTrainer(BaseTrainer):
    """Trains a model on (inputs, targets) by backpropagation: forward, loss, backward, step.

    Its bits equal those of the hand-written loop. Other step protocols are in `wf_training.steps`.

    Args:
        model: The model to train.
        loss: Called with (predictions, targets); returns a scalar, or a dict of scalars, which are summed. None if
            the task's models compute their own.
        optimizer: Has the parameters of model and loss.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure for a scheduler with interval ``evaluation``, unless it has its own `monitor`.
        optimizer_traits: The optimizer's step protocol; None for a plain one.
        strategy: Lets several processes train together.
        freeze: Names of submodules that are not trained, such as ``layer1`` or ``[layer1, layer2.0]``; ``backbone``:
            everything but the head. They stay in evaluation mode, so that they do not change: a batch norm uses and
            keeps its running means, and dropout is off.
        freeze_until: Time at which they are unfrozen, such as ``2epochs`` or ``500steps``; the optimizer has
            their parameters from the start, and does not change them until then.
        accumulate: Number of batches per update; they are served as one batch, see `wf_training.gradients`.
        batch_size: Number of samples in each of these batches.
        scaler: Scales the loss for gradients in fp16.
        compile: Compile the forward for training by `torch.compile`, optionally in the given mode. The first
            steps are slow. Fused kernels change the last bits. Evaluations are not compiled.
        channels_last: Keep images, and weights of four dimensions, in the memory format `torch.channels_last`, in which
            convolutions are faster on many devices. They sum in a different order, which changes the last bits.
        input_shape: The shape of a sample.
        task: Defines the objective; None for the loss of the model outputs.

    Raises:
        UsageError: For a step protocol that does not work with the other arguments, or an unknown submodule.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Any] | None,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        scheduler_interval: str,
        monitor: str,
        optimizer_traits: Annotated[OptimizerTraits | None, FromRun("optimizer_traits")] = None,
        strategy: Annotated[Strategy | None, FromRun("strategy")] = None,
        freeze: str | list[str] | None = None,
        accumulate: Annotated[int, FromRun("accumulate")] = 1,
        batch_size: Annotated[int | None, FromRun("batch_size")] = None,
        scaler: Annotated[torch.amp.GradScaler | None, FromRun("scaler")] = None,
        channels_last: bool = False,
        input_shape: Annotated[tuple[int, ...] | None, FromRun("input_shape")] = None,
        task: Annotated[TaskRuntime | None, FromRun("outputs")] = None,
        compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False,
        freeze_until: int | str | None = None,
    ) -> None:
        trained: nn.Module = compiled(model, compile) if compile else model
        super().__init__(
            trained, optimizer, scheduler, scheduler_interval, monitor, strategy, accumulate, batch_size, scaler
        )
        self.loss, self.optimizer = loss, optimizer
        self.figures = terms(loss)
        """The recorded terms of the loss."""
        if channels_last and input_shape is not None and len(input_shape) != 3:
            raise UsageError(
                f"--trainer.channels_last is for images [C, H, W], but a sample has shape {list(input_shape)}\n"
                "  remove it"
            )
        bare = model if strategy is None else strategy.bare(model)
        self._frozen = self.prepare_model(bare, freeze, channels_last, freeze_until)
        if freeze_until is not None:
            self._thaw_in_time(Thawing(bare, freeze, freeze_until))
            _check_thaws(model)
        step = "plain" if optimizer_traits is None else optimizer_traits.step
        if step == "create_graph" and strategy is not None and strategy.world_size > 1:
            raise UsageError(
                "the optimizer differentiates gradients, but several processes exchange gradients without their "
                "graphs:\n  their weights would drift apart; train in one process, or with another optimizer"
            )
        if scaler is not None and step != "plain":
            raise UsageError(
                f"fp16 supports only the plain step, but the optimizer has the step protocol {step}\n"
                "  train with --precision bf16, or with another optimizer, such as adam"
            )
        part_size = batch_size if accumulate > 1 else None
        objective = (task or TaskRuntime()).bind(self.model, loss)
        self.supervised = objective if type(objective) is Supervised else None
        """The objective if it is only a loss of the model outputs."""
        self._objective = objective
        self.gradients = Gradients(objective, part_size, scaler, strategy)
        self._update: Callable[[SupervisedTrainer, Batch], Loss] | None = (
            scaled if scaler is not None else UPDATES.get(step, plain if accumulate > 1 else first)
        )
        self.clear_gradients = gradient_clearer(optimizer)

    @staticmethod
    def prepare_model(
        model: nn.Module,
        freeze: str | list[str] | None = None,
        channels_last: bool = False,
        freeze_until: int | str | None = None,
    ) -> list[nn.Module]:
        """Freeze parts of the model and lay it out; gives those that stay in evaluation mode for the whole run.

        See `wf.protocols.Trainer`.
        """
        if channels_last:
            lay_out(model)
        if freeze_until is not None:
            Thawing(model, freeze, freeze_until)
            return []
        return frozen_parts(model, freeze)

    def weights(self, batch: Batch) -> Weights | None:
        """The weight of each term of the loss; see the base."""
        return self._objective.weights(batch)

    def _thaw_in_time(self, thawing: Thawing) -> None:
        """Handle starts of epochs, and each step if `freeze_until` counts steps."""

        def apply(run: Loop) -> None:
            thawing.apply(run.progress.epoch, run.progress.step)

        def apply_in_time(run: Loop) -> None:
            if run.progress.step == thawing.until.num:
                apply(run)

        for event in ("on_epoch_start", "on_step_end"):
            if hasattr(self, event):
                raise UsageError(f"{type(self).__name__} defines {event}, which 'freeze_until' would replace")
        self.on_epoch_start = apply
        if thawing.until.unit == "steps":
            self.on_step_end = apply_in_time

    def train_step(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Make one update.

        Args:
            batch: ``inputs [N, ...]`` and ``targets [N, ...]`` on the model's device, or trees of such.

        Returns:
            The loss before the update, 0-d, detached, on its device; with several terms these as well.
        """
        if self._update is not None:
            loss = self._update(self, batch)
        else:
            assert self.loss is not None
            loss = self.loss(self.model(batch.inputs), batch.targets)
            self.clear_gradients()
            loss.backward()
            for listen in self.before_update:
                listen()
            self.optimizer.step()
        if self._each_step is not None:
            self._each_step.step()
        return loss.detach() if isinstance(loss, Tensor) else loss

    def inline(self, update: Callable[[SupervisedTrainer, Batch], Loss] | None = None) -> None:
        """Inline later steps in `train_step`, which takes the fewest calls, or make them by `update`."""
        self._update = update

    def on_run_start(self, run: Loop) -> None:
        """Switch the model to training mode, except for frozen parts.

        Raises:
            UsageError: If the scheduler watches a figure that will not exist.
        """
        super().on_run_start(run)
        for module in self._frozen:
            module.eval()


def _check_thaws(model: nn.Module) -> None:
    """Refuse a `DistributedDataParallel` that waits in each step for the gradients of all parameters."""
    if not getattr(model, "find_unused_parameters", True):
        raise UsageError(
            "trainer option 'freeze_until': the processes wait for the gradients of all parameters, and frozen ones "
            "have none\n  let each step search for them: --strategy.find_unused_parameters yes"
        )
