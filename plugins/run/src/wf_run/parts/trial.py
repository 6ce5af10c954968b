"""Tries the model before step 1 as it will be trained: on train samples, and on the smallest batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from wf.discovery.modules import describe
from wf.errors import UsageError
from wf_base import Batch, TaskRuntime, tree
from wf_base.random import TrainStream


def check_smallest_batch(
    model: nn.Module,
    stays: Iterable[nn.Module],
    batches: Sequence[Batch],
    task: TaskRuntime,
    samples: str,
    size: int,
    name: str,
    *,
    num_processes: int = 1,
    is_last: bool = True,
) -> None:
    """Refuse batches of one sample if the model cannot be trained on one, as with batch norm.

    Args:
        model: The model itself, on its device; it and the random generators are unchanged afterwards.
        stays: The parts that stay in evaluation mode.
        batches: A batch of one sample and a batch of two, as in training.
        task: Tells how to call a model that computes its own losses.
        samples: The number of train samples, as text.
        size: The batch size.
        name: The model's name.
        num_processes: The number of processes that share each batch.
        is_last: Whether only the last batch has one sample for a process.

    Raises:
        UsageError: With advice.
    """
    one, two = batches
    if two.size < 2:
        return
    error = _error_of(model, stays, one, task)
    # if two samples fail as well, the first step reports it
    if error is None or _error_of(model, stays, two, task) is not None:
        return
    found, advice = "batches have 1 sample", "choose another --batch-size"
    if not is_last and num_processes > 1:
        found = f"batches of {size} have 1 sample for a process"
        advice = f"choose a --batch-size of at least {2 * num_processes}, or start fewer processes"
    elif size > 1:
        found = f"{samples} in batches of {size} leave 1 for the last batch"
        advice = f"leave it out: --drop-last, or {advice}"
    raise UsageError(
        f"{found}, and model '{name}' cannot be trained on one sample alone: it normalizes over the batch\n"
        f"  {describe(error)}\n  {advice}"
    ) from error


def _error_of(model: nn.Module, stays: Iterable[nn.Module], batch: Batch, task: TaskRuntime) -> Exception | None:
    """The error that the model raises in training mode for a batch."""
    inputs = tree.map_leaves(torch.clone, batch.inputs)
    with _as_it_was(model), torch.no_grad():
        model.train()
        for module in stays:
            module.eval()
        try:
            if task.needs_loss:
                tree.call(model, inputs)
            else:
                task.bind(model, None).step(batch._replace(inputs=inputs))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return error
    return None


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Restore the modes and buffers of a model, and the generators, afterwards."""
    stream = TrainStream()
    modes, random = {module: module.training for module in model.modules()}, stream.state_dict()
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                setattr(module, name, buffer.copy_(before))  # a module may have replaced the tensor
        stream.load_state_dict(random)
