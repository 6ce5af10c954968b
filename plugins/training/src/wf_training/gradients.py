"""Loss and gradients of a batch, computed at once or in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf.runtime import Batch
from wf.runtime.links import total_weight


class Gradients:
    """Adds the gradients of a batch to those that are there, and gives its loss.

    Computed in parts, they are those of the whole batch but for rounding: each part counts with its share of what the
    loss averages over, which is samples or, where the loss has ``total_weight``, that. Layers and losses that look at
    several samples together (batch norm, triplets) see those of a part. The processes of a strategy share gradients
    once, with those of the last part.

    Args:
        model: As the strategy prepared it.
        loss: Called with (predictions, targets).
        part_size: Samples in a part; None for one part.
        scaler: Scales the loss before the gradients are computed, which then are as large.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        part_size: int | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._model, self._loss, self._part_size, self._scaler = model, loss, part_size, scaler
        self._unshared: Callable[[], AbstractContextManager[None]] = getattr(model, "no_sync", nullcontext)

    def __call__(self, batch: Batch, *, create_graph: bool = False) -> Tensor:
        """Compute loss and gradients.

        Args:
            batch: ``inputs [N, ...]`` and ``targets [N, ...]`` on the model's device.
            create_graph: Keep the graph of the gradients.

        Returns:
            The loss, 0-d, detached, on its device.
        """
        if self._part_size is None or batch.size <= self._part_size:
            return self._add(batch.inputs, batch.targets, None, create_graph=create_graph)
        parts = list(self._parts(batch, self._part_size))
        losses = []
        for part in parts[:-1]:
            with self._unshared():
                losses.append(self._add(*part, create_graph=create_graph))
        losses.append(self._add(*parts[-1], create_graph=create_graph))
        return torch.stack(losses).sum()

    def _parts(self, batch: Batch, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | float | None]]:
        """Inputs, targets and share of each part."""
        whole = total_weight(self._loss, batch.targets)
        for inputs, targets in zip(batch.inputs.split(size), batch.targets.split(size), strict=True):
            share: Tensor | float | None = len(inputs) / batch.size
            if getattr(self._loss, "reduction", "mean") == "sum":
                share = None
            elif whole is not None and (part := total_weight(self._loss, targets)) is not None:
                share = _wide(part) / whole
            yield inputs, targets, share

    def _add(self, inputs: Tensor, targets: Tensor, share: Tensor | float | None, *, create_graph: bool) -> Tensor:
        predictions = self._model(inputs)
        if isinstance(share, Tensor) and predictions.requires_grad:
            predictions.register_hook(lambda gradient: torch.where(share == 0, 0.0, gradient))
        loss = self._loss(predictions, targets)
        if isinstance(share, Tensor):  # a part in which nothing counts has the loss 0 / 0
            loss = torch.where(share == 0, 0.0, loss * share.to(loss.dtype))
        elif share is not None:
            loss = loss * share
        _backward(loss if self._scaler is None else self._scaler.scale(loss), create_graph=create_graph)
        return loss.detach()


def _wide(weight: Tensor) -> Tensor:
    """In double precision where the device has it: a share of whole numbers would be of torch's default dtype."""
    return weight if weight.device.type == "mps" else weight.to(torch.float64)


def check_loss(loss: Any, error: Exception) -> None:
    """Say what is wrong where a loss gave something that no gradients come from.

    Args:
        loss: What it gave.
        error: What torch, or Python, said of it.

    Raises:
        UsageError: When that is no tensor, not one number, or not computed from the predictions.
    """
    if not isinstance(loss, Tensor):
        gave, advice = type(loss).__name__, "a tensor: compute it from the predictions, in torch"
    elif loss.ndim and loss.numel() != 1:
        gave, advice = f"a tensor of shape {list(loss.shape)}", "one number, such as the mean over the samples"
    elif not loss.requires_grad:
        gave = "a tensor that no gradient goes through"
        advice = "computed from the predictions, in torch, without detach(), item(), argmax() or torch.no_grad()"
    else:
        return
    raise UsageError(f"the loss gave {gave}\n  it must be {advice}") from error


def _backward(loss: Tensor, *, create_graph: bool) -> None:
    if not create_graph:
        try:
            loss.backward()
        except (AttributeError, RuntimeError) as error:
            check_loss(loss, error)
            raise
        return
    with warnings.catch_warnings():
        # It warns of the cycle of parameter and gradient, and says to reset the gradients: `create_graph` does.
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True", category=UserWarning)
        loss.backward(create_graph=True)
