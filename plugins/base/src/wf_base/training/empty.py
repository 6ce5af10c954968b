"""Models without values, on torch's meta device, for processes that get only a part of the values."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import swap_tensors

from wf.blame import FAILURES
from wf.discovery.modules import describe
from wf.errors import UsageError
from wf_base.random import TrainStream


def is_empty(model: Any) -> bool:
    """Whether a model has tensors on the meta device."""
    return isinstance(model, nn.Module) and any(one.is_meta for one in _tensors(model))


def is_all_saved(model: nn.Module) -> bool:
    """Whether the `state_dict` of a model has all of its tensors, so that a checkpoint gives it all values."""
    saved = model.state_dict()
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return all(name in saved for name, _ in named)


def made_empty(make: Callable[[], Any]) -> tuple[Any, str]:
    """A model with all its tensors on the meta device, if it can be made so; otherwise a whole one.

    Args:
        make: Makes the model; it is called again if the first result has to be thrown away.

    Returns:
        The model, and why it is a whole one; empty if it is not.

    Raises:
        UsageError: If code that the model uses has kept a tensor without values.
    """
    stream, known = TrainStream(), {id(one): one for one in _on_meta()}
    before, made = stream.state_dict(), None
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # the process that makes the whole model has them, too
            made = make()
        why = _reason_against(made, known)
        if not why and not _is_equal(before, stream.state_dict()):
            why = "it draws random numbers that do not follow torch.device"
        if not why:
            for one in _tensors(made):
                if not one.is_meta:  # as made from a numpy array
                    swap_tensors(one, _empty_like(one))
            return made, ""
    except FAILURES as error:
        why = describe(error)
    stream.load_state_dict(before)
    made = make()
    if _strays(known, None):
        raise UsageError(
            "the model takes tensors that its code keeps from one model to the next, so it cannot be "
            "built without values\n  add --strategy.whole_build true"
        )
    return made, why


def _reason_against(made: Any, known: dict[int, Tensor]) -> str:
    """Why a model cannot be used as it was made on the meta device; empty if it can."""
    if not isinstance(made, nn.Module):
        return "it is no torch.nn.Module"
    tensors = list(_tensors(made))
    if not any(one.is_meta for one in tensors):
        return "its tensors do not follow torch.device"
    if any(map(is_lazy, tensors)):
        return "it has lazy parameters, whose shapes follow from the first samples"
    if len({one.untyped_storage()._cdata for one in tensors}) < len(tensors):
        return "tensors of it share memory"
    if strays := _strays(known, made):
        shapes = ", ".join(str(list(one.shape)) for one in strays[:3])
        return f"it keeps tensors that are neither parameters nor buffers, of shape {shapes}"
    return ""


def _strays(known: dict[int, Tensor], model: nn.Module | None) -> list[Tensor]:
    """The tensors on the meta device that are not known, and do not belong to the model."""
    own = {id(one) for one in (() if model is None else _tensors(model))}

    def found() -> list[Tensor]:
        return [one for one in _on_meta() if id(one) not in known and id(one) not in own]

    if not found():
        return []
    gc.collect()
    return found()


def _on_meta() -> list[Tensor]:
    """All tensors of this process on the meta device."""
    return [one for one in gc.get_objects() if issubclass(type(one), Tensor) and one.is_meta]


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, each once."""
    yield from model.parameters()
    yield from model.buffers()


def _empty_like(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _is_equal(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the random generators are in the same state."""
    if not torch.equal(before["cpu"], now["cpu"]):
        return False
    return all(map(torch.equal, before.get("cuda", ()), now.get("cuda", ())))
