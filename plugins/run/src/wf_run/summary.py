"""A model as a table of its layers: output shapes, parameters and floating-point operations."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wf_base import tree
from wf_base.random import TrainStream
from wf_base.training.modes import evaluated

MAX_ROWS = 40
"""The maximum number of rows; a larger model is shown by its outer modules, with as many levels as fit."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module of a model, including its submodules."""

    name: str
    """Its name as in its weights' names; empty for the model itself."""
    type: str
    output: str
    """The shape of its output for one sample; ``-`` if it was not called."""
    num_params: int
    """The number of parameters; a shared weight counts for the first module that has it."""
    flops: int
    """The floating-point operations of matrix products, convolutions and attention for one sample; a multiply-add
    counts as two."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layers of a model."""

    layers: Sequence[Layer]
    """The layers to show: the outermost modules, with as many levels as fit into `MAX_ROWS`."""
    num_params: int
    num_trained: int
    """The number of trainable parameters."""
    num_bytes: int
    """The bytes of parameters and buffers."""
    flops: int | None
    """The operations of the forward pass for one sample; None if the run has no samples to try."""
    is_whole: bool
    """Whether all operations are counted: torch does not count recurrent layers and other libraries' kernels."""


def summarize(model: nn.Module, batch: Any = None, *, max_rows: int = MAX_ROWS) -> Summary:
    """Summarize a model: each module is listed once, with all its parameters.

    The model is called once in evaluation mode without gradients; random streams, modes and buffers are restored.

    Args:
        model: The model, without a strategy's wrapper.
        batch: A `wf_base.Batch` of samples on the model's device; None does not call the model.
        max_rows: The maximum number of rows.
    """
    called = _call(model, batch) if batch is not None else {}
    size = 1 if batch is None else batch.size
    names = _rows(model, max_rows)
    counted: set[int] = set()
    layers = []
    for name in names:
        module = model.get_submodule(name)
        own = [weight for weight in module.parameters() if id(weight) not in counted]
        counted |= {id(weight) for weight in own}
        output, flops = called.get(name, ("-", 0))
        layers.append(
            Layer(
                name=name,
                type=type(module).__name__,
                output=output,
                num_params=sum(weight.numel() for weight in own),
                flops=flops // size,
            )
        )
    weights, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        layers=layers,
        num_params=sum(weight.numel() for weight in weights),
        num_trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        num_bytes=sum(one.numel() * one.element_size() for one in (*weights, *buffers)),
        flops=None if batch is None else called[""][1] // size,
        is_whole=all(_is_counted(module, called.get(name)) for name, module in model.named_modules()),
    )


def _is_counted(module: nn.Module, called: tuple[str, int] | None) -> bool:
    """Whether the operations of a module's own weights were counted, if it was called."""
    matrices = [weight for weight in module.parameters(recurse=False) if weight.ndim > 1]
    return called is None or called[1] > 0 or not matrices or isinstance(module, (nn.Embedding, nn.EmbeddingBag))


def _rows(model: nn.Module, max_rows: int) -> list[str]:
    """The modules to list: leaves, or if these are too many, the modules around them."""
    for depth in range(max(name.count(".") for name, _ in model.named_modules()) + 1, 0, -1):
        names = [name for name, module in model.named_modules() if name and _is_row(name, module, depth)]
        if len(names) <= max_rows:
            return names or [""]
    return [""]


def _is_row(name: str, module: nn.Module, depth: int) -> bool:
    """Whether a module is listed: at this depth, or above it if it is a leaf or has its own weights."""
    level = name.count(".") + 1
    inner = any(True for _ in module.children())
    own = any(True for _ in module.parameters(recurse=False))
    return level == depth or (level < depth and (not inner or own))


def _call(model: nn.Module, batch: Any) -> dict[str, tuple[str, int]]:
    """The output's shape and the operations of each module, by name."""
    found: dict[str, tuple[str, int]] = {}
    begun: list[int] = []
    counter = FlopCounterMode(display=False)

    def begin(*_: Any) -> None:
        begun.append(counter.get_total_flops())

    def end(name: str, output: Any) -> None:
        flops = counter.get_total_flops() - begun.pop()
        found[name] = (_shape(output), found.get(name, ("", 0))[1] + flops)

    handles: list[Any] = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(begin))
        handles.append(module.register_forward_hook(lambda _module, _inputs, output, name=name: end(name, output)))
    try:
        with _unchanged(model), evaluated(model), torch.no_grad(), counter:
            output = tree.call(model, batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    found.setdefault("", (_shape(output), counter.get_total_flops()))
    return found


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Restore random streams and buffers at the end."""
    stream = TrainStream()
    before, python, numbers = stream.state_dict(), random.getstate(), np.random.get_state()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        stream.load_state_dict(before)
        random.setstate(python)
        np.random.set_state(numbers)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _shape(output: Any) -> str:
    """``10``, ``64 x 8 x 8``, ``logits 10, mask 8 x 8``: without the dimension of the samples."""
    if isinstance(output, Tensor):
        return " x ".join(map(str, output.shape[1:])) or "1"
    leaves = list(tree.leaves(output))
    if not leaves:
        return type(output).__name__
    texts = [f"{path} {_shape(leaf)}" for path, leaf in leaves[:2]]
    return ", ".join([*texts, *(["..."] if len(leaves) > 2 else [])])
