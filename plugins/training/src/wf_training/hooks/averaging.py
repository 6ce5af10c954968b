"""Averages of the weights, which are judged and kept in the place of those that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from wf import Hook, Loop
from wf.errors import UsageError


class AveragedWeights:
    """Two sets of weights, see `wf.protocols.Modes`: those that are trained, and their average.

    The average is of the parameters and of the buffers that are floating-point numbers, such as the running means of
    batch norm; other buffers are those of the training. Before the first update there is none, and the weights that are
    trained are judged.

    Args:
        model: The model; its tensors are changed in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.num = 0
        """The updates so far."""
        self._averages: list[Tensor] | None = None
        self._trained: list[Tensor] | None = None

    def update(self, average: Any) -> None:
        """Take the present weights in.

        Args:
            average: Called with the averages, the present tensors and the number of updates before, by device and
                dtype; changes the averages, as those of `torch.optim.swa_utils` do.
        """
        tensors = self._tensors()
        if self._averages is None:
            self._averages = [tensor.clone() for tensor in tensors]
        else:
            for averages, present in _grouped(self._averages, tensors):
                average(averages, present, self.num)
        self.num += 1

    def to_eval(self) -> None:
        """Put the averages into the model."""
        if self._averages is not None:
            self._trained = [tensor.clone() for tensor in self._tensors()]
            self._put(self._averages)

    def to_train(self) -> None:
        """Put the weights that are trained back into the model."""
        if self._trained is not None:
            self._put(self._trained)
        self._trained = None

    def state_dict(self) -> dict[str, Any]:
        """The averages, and the weights that are trained where the averages are in the model."""
        return {"num": self.num, "averages": self._averages, "trained": self._trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; `to_train` puts the weights that are trained into the model."""
        devices = [tensor.device for tensor in self._tensors()]
        self.num = state["num"]
        self._averages, self._trained = (
            None
            if state[name] is None
            else [one.to(device, copy=True) for one, device in zip(state[name], devices, strict=True)]
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
    """Judges and keeps an exponential moving average of the weights instead of the weights that are trained.

    Evaluations, ``keep = "best"``, checkpoints and the end of the run have the average; the training itself is as
    without it, bit for bit. After an update it is ``decay * average + (1 - decay) * weights``, and after the first one
    the weights themselves, as `torch.optim.swa_utils.get_ema_multi_avg_fn` computes it. Running means of batch norm are
    averaged in the same way.

    Args:
        model: The model.
        decay: Share of the average that stays in an update: 0.999 looks back about 1,000 updates.
        warmup: Begin with a smaller decay, ``(1 + t) / (10 + t)``, so that a short run forgets its first weights.

    Raises:
        UsageError: For a decay outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"ema: decay is {decay:g}; it must be at least 0 and less than 1")
        self.decay, self.warmup = decay, warmup
        self.modes = AveragedWeights(model)
        """The loop puts the average into the model by it."""

    def on_step_end(self, run: Loop) -> None:
        """Take the weights in."""
        num = self.modes.num
        decay = min(self.decay, (1 + num) / (10 + num)) if self.warmup else self.decay
        self.modes.update(get_ema_multi_avg_fn(decay))


class Swa(Hook):
    """Judges and keeps the mean of the weights at the ends of the last epochs (stochastic weight averaging).

    Izmailov et al. 2018. It is meant for a learning rate that stays high. Before `start` the weights that are trained
    are judged. Running means of batch norm are averaged, too, instead of being computed anew from the data.

    Args:
        model: The model.
        start: Epochs before the first one that is averaged.

    Raises:
        UsageError: For a negative `start`, or a run whose epochs have no known length.
    """

    def __init__(self, model: nn.Module, start: int) -> None:
        if start < 0:
            raise UsageError(f"swa: start is {start}; it must be at least 0")
        self.start = start
        self.modes = AveragedWeights(model)
        """The loop puts the mean into the model by it."""

    def on_run_start(self, run: Loop) -> None:
        """See that there are epochs.

        Raises:
            UsageError: When nobody knows how long one is.
        """
        if run.num_batches is None:
            raise UsageError("swa: it averages at the end of each epoch, and these have no known length\n  use ema")

    def on_step_end(self, run: Loop) -> None:
        """Take the weights in at the end of an epoch, before it is evaluated."""
        if run.progress.batch == run.num_batches and run.progress.epoch >= self.start:
            self.modes.update(get_swa_multi_avg_fn())


def _grouped(averages: list[Tensor], present: list[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Both by type, device and dtype: what is updated together must be alike."""
    found: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for average, tensor in zip(averages, present, strict=True):
        own = found.setdefault((type(average), average.device, average.dtype), ([], []))
        own[0].append(average)
        own[1].append(tensor)
    return list(found.values())
