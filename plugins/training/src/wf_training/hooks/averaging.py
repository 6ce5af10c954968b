"""Averages of the weights, which are evaluated and saved instead of the training weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from wf import Hook, Loop
from wf.errors import UsageError
from wf_base.shards import like


class AveragedWeights:
    """Two sets of weights, see `wf.protocols.Modes`: the training weights and their average.

    Floating-point parameters and buffers, such as the running means of batch norm, are averaged; other buffers are not.
    Before the first update there is no average, and the training weights are evaluated.

    Args:
        model: The model; its tensors are changed in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.num = 0
        """The number of updates so far."""
        self._averages: list[Tensor] | None = None
        self._trained: list[Tensor] | None = None

    def update(self, average: Any) -> None:
        """Update the averages with the current weights.

        Args:
            average: A function of `torch.optim.swa_utils`: called with the averages, the current tensors and the number
                of earlier updates, for each device and dtype; changes the averages in place.
        """
        tensors = self._tensors()
        if self._averages is None:
            self._averages = [tensor.clone() for tensor in tensors]
        else:
            for averages, present in _grouped(self._averages, tensors):
                average(averages, present, self.num)
        self.num += 1

    def to_eval(self) -> None:
        """Load the averages into the model."""
        if self._averages is not None:
            self._trained = [tensor.clone() for tensor in self._tensors()]
            self._put(self._averages)

    def to_train(self) -> None:
        """Restore the training weights in the model."""
        if self._trained is not None:
            self._put(self._trained)
        self._trained = None

    def state_dict(self) -> dict[str, Any]:
        """The averages, and the training weights if the model currently has the averages."""
        return {"num": self.num, "averages": self._averages, "trained": self._trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`; `to_train` then loads the training weights into the model."""
        present = self._tensors()
        self.num = state["num"]
        self._averages, self._trained = (
            None
            if state[name] is None
            else [like(one.to(own.device, copy=True), own) for one, own in zip(state[name], present, strict=True)]
            for name in ("averages", "trained")
        )

    @torch.no_grad()
    def _put(self, tensors: list[Tensor]) -> None:
        for tensor, value in zip(self._tensors(), tensors, strict=True):
            tensor.copy_(value)

    def _tensors(self) -> list[Tensor]:
        both = [*self._model.parameters(), *self._model.buffers()]
        return [tensor.detach() for tensor in both if tensor.is_floating_point()]


class Ema(Hook):
    """Evaluates and saves an exponential moving average of the weights instead of the training weights.

    Evaluations, ``keep = "best"``, checkpoints and the end of the run use the average; the training itself does not
    change by a bit. The average starts as the weights after the first update; each later update makes it
    ``decay * average + (1 - decay) * weights`` (`torch.optim.swa_utils.get_ema_multi_avg_fn`). Running means of batch
    norm are averaged in the same way.

    Args:
        model: The model.
        decay: Weight of the old average in an update: 0.999 averages over about 1,000 updates.
        warmup: Start with a smaller decay, ``(1 + t) / (10 + t)``, so that the initial weights have less influence.

    Raises:
        UsageError: If the decay is outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"ema: decay is {decay:g}; it must be at least 0 and less than 1")
        self.decay, self.warmup = decay, warmup
        self.modes = AveragedWeights(model)
        """The loop uses it to load the average into the model."""

    def on_step_end(self, run: Loop) -> None:
        """Update the average."""
        num = self.modes.num
        decay = min(self.decay, (1 + num) / (10 + num)) if self.warmup else self.decay
        self.modes.update(get_ema_multi_avg_fn(decay))


class Swa(Hook):
    """Evaluates and saves the mean of the weights at the ends of the last epochs (stochastic weight averaging).

    Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization". It is meant for a
    learning rate that stays high. Until `start` the training weights are evaluated. Running means of batch norm are
    averaged, too, instead of being recomputed from the data.

    Args:
        model: The model.
        start: Number of epochs before averaging starts.

    Raises:
        UsageError: If `start` is negative, or the length of an epoch is unknown.
    """

    def __init__(self, model: nn.Module, start: int) -> None:
        if start < 0:
            raise UsageError(f"swa: start is {start}; it must be at least 0")
        self.start = start
        self.modes = AveragedWeights(model)
        """The loop uses it to load the mean into the model."""

    def on_run_start(self, run: Loop) -> None:
        """Check that epochs have an end.

        Raises:
            UsageError: If the length of an epoch is unknown.
        """
        if run.num_batches is None:
            raise UsageError("swa averages at the end of each epoch, but the length of an epoch is unknown\n  use ema")

    def on_step_end(self, run: Loop) -> None:
        """Update the mean at the end of an epoch, before its evaluation."""
        if run.progress.batch == run.num_batches and run.progress.epoch >= self.start:
            self.modes.update(get_swa_multi_avg_fn())


def _grouped(averages: list[Tensor], present: list[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Group both by type, device and dtype, because torch updates tensors of a group together."""
    found: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for average, tensor in zip(averages, present, strict=True):
        own = found.setdefault((type(average), average.device, average.dtype), ([], []))
        own[0].append(average)
        own[1].append(tensor)
    return list(found.values())
