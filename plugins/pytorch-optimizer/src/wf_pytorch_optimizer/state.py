"""The state of optimizers that keep objects of the library in it, as plain values.

A checkpoint of wf holds plain values and tensors only. GaLore's projectors and Shampoo's preconditioners are objects:
each is written as the name of its class and its attributes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from pytorch_optimizer.optimizer.utils.galore import GaLoreProjector
from pytorch_optimizer.optimizer.utils.graft import AdaGradGraft, Graft, RMSPropGraft, SGDGraft, SQRTNGraft
from pytorch_optimizer.optimizer.utils.partition import BlockPartitioner
from pytorch_optimizer.optimizer.utils.preconditioner import PreConditioner
from torch import Tensor
from torch.optim import Optimizer

CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        AdaGradGraft,
        BlockPartitioner,
        GaLoreProjector,
        Graft,
        PreConditioner,
        RMSPropGraft,
        SGDGraft,
        SQRTNGraft,
    )
}
"""The classes whose objects may stand in a state."""

_CLASS = "wf_class"


class PlainState(Optimizer):
    """Reads and writes a state without objects; comes before the library's class among the bases."""

    def state_dict(self) -> dict[str, Any]:
        """The library's state, each object as a dict of its class's name and its attributes."""
        state: dict[str, Any] = to_plain(super().state_dict())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(from_plain(state_dict, self.param_groups[0]["params"][0].device))


def to_plain(value: Any) -> Any:
    """The value with each object of `CLASSES` as a dict."""
    if type(value).__name__ in CLASSES:
        return {_CLASS: type(value).__name__, **{name: to_plain(one) for name, one in vars(value).items()}}
    return _map(to_plain, value)


def from_plain(value: Any, device: torch.device) -> Any:
    """The value with each object made again, its tensors copied to a device."""
    if type(value) is dict and _CLASS in value:
        made: Any = object.__new__(CLASSES[value[_CLASS]])
        vars(made).update({name: _copied(one, device) for name, one in value.items() if name != _CLASS})
        return made
    return _map(lambda one: from_plain(one, device), value)


def _copied(value: Any, device: torch.device) -> Any:
    """An attribute of an object, which must not share memory with the state that was loaded."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if type(value) in (list, tuple):
        return type(value)(_copied(one, device) for one in value)
    return copy.deepcopy(from_plain(value, device))


def _map(function: Any, value: Any) -> Any:
    if type(value) is dict:
        return {key: function(one) for key, one in value.items()}
    return type(value)(map(function, value)) if type(value) in (list, tuple) else value
