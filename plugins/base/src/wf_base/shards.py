"""Tensors that are divided among processes: torch's DTensor, which is imported only by a strategy that makes some."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def is_sharded(value: Any) -> bool:
    """Whether a value is a tensor of which this process holds a part."""
    made = sys.modules.get("torch.distributed.tensor")
    return made is not None and isinstance(value, made.DTensor)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds, without its graph; all of one that is not divided."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined]  # a DTensor's
    return part


def whole(tensor: Tensor) -> Tensor:
    """A tensor in one piece. Where it is divided all processes must call this together."""
    if not is_sharded(tensor):
        return tensor
    full: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]  # a DTensor's
    return full


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A tensor, of which every process has all, divided as another of the same shape is; itself if that is not."""
    if not is_sharded(model) or is_sharded(tensor) or tensor.shape != model.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = model.device_mesh, model.placements  # type: ignore[attr-defined]  # a DTensor's
    return distribute_tensor(tensor.detach().to(mesh.device_type), mesh, placements, src_data_rank=None)


def whole_state(state: Any) -> Any:
    """A state with whole tensors, the divided ones on the host. All processes must call this together."""
    if isinstance(state, Tensor):
        return whole(state.detach()).cpu() if is_sharded(state) else state
    if type(state) in (list, tuple):
        return type(state)(whole_state(one) for one in state)
    if isinstance(state, Mapping) and holds_shards(state):
        return {name: whole_state(one) for name, one in state.items()}
    return state


def holds_shards(state: Any) -> bool:
    """Whether a state has a divided tensor in it."""
    if isinstance(state, Mapping):
        return any(map(holds_shards, state.values()))
    if isinstance(state, (list, tuple)):
        return any(map(holds_shards, state))
    return is_sharded(state)
