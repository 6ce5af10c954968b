"""Contrastive training without labels, on random views of each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf import FromRun, Nested
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import BaseTrainer, Batch
from wf_base.random import sample_uniform

if TYPE_CHECKING:
    from wf import Loop


class ContrastiveTrainer(BaseTrainer):
    """Trains a model on several random views of each sample, by a loss of embeddings such as ``nt-xent``.

    The targets of the loss are the indices of the samples in the batch, so labels are not used in training. The draws
    of a view are a function of seed, epoch, sample and view, so a run resumes bit for bit. Evaluations use the
    embeddings of the samples themselves, without views, and the dataset's own targets.

    Args:
        model: Maps inputs ``[N, ...]`` to embeddings ``[N, D]``.
        loss: Called with embeddings ``[M, D]`` and int64 targets ``[M]``.
        optimizer: Has the parameters of model and loss.
        views: Transforms that make a view, in their order: ``[{use = "crop"}, {use = "flip"}]``.
        seed: The run's seed.
        num_views: Number of views per sample.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure that a scheduler of interval ``evaluation`` is given.
        strategy: Coordinates several processes; each compares only the samples of its own batches.
        scaler: Scales the loss for gradients in fp16.

    Raises:
        UsageError: For fewer than two views, no random transform, or transforms that change targets.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        views: Annotated[list[Any], Nested("transform")],
        seed: int,
        num_views: int = 2,
        scheduler: Annotated[LRScheduler | None, FromRun("scheduler")] = None,
        scheduler_interval: Annotated[str, FromRun("scheduler_interval")] = "epoch",
        monitor: Annotated[str, FromRun("monitor")] = "validation/loss",
        strategy: Annotated[Strategy | None, FromRun("strategy")] = None,
        scaler: Annotated[torch.amp.GradScaler | None, FromRun("scaler")] = None,
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, monitor, strategy, scaler=scaler)
        self.loss, self.num_views, self._seed, self._epoch = loss, num_views, seed, 0
        if num_views < 2:
            raise UsageError(f"trainer 'contrastive': num_views is {num_views}; it must be at least 2")
        if joint := [one for one in views if getattr(one, "joint", False)]:
            raise UsageError(f"trainer 'contrastive': {type(joint[0]).__name__} changes targets, but views have none")
        if not any(getattr(one, "num_draws", 0) for one in views):
            raise UsageError(
                "trainer 'contrastive': none of its views is random, so all views of a sample would be the same\n"
                "  name a random transform, such as crop or flip"
            )
        self._views = list(views)

    def on_epoch_start(self, run: Loop) -> None:
        """Know the epoch, by which views are drawn."""
        self._epoch = run.progress.epoch

    def compute_loss(self, batch: Batch) -> Tensor:
        """The loss of the views of a batch ``[N, ...]``."""
        inputs, ids = batch.inputs, batch.sample_ids
        if not isinstance(inputs, Tensor) or ids is None:
            raise UsageError("trainer 'contrastive' makes views of samples that are one tensor each")
        images = torch.cat([self._view(inputs, ids, number) for number in range(self.num_views)])
        numbers = torch.arange(len(inputs), device=inputs.device).repeat(self.num_views)
        return self.loss(self.model(images), numbers)

    def _view(self, inputs: Tensor, ids: Tensor, number: int) -> Tensor:
        for position, transform in enumerate(self._views):
            if num := getattr(transform, "num_draws", 0):
                place = number * len(self._views) + position
                draws = sample_uniform(self._seed, self._epoch, ids, num, place, name="view")
                inputs = transform(inputs, draws.to(inputs.device))
            else:
                inputs = transform(inputs)
        return inputs
