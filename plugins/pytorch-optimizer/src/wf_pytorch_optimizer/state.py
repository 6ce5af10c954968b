"""Converts optimizer states with objects of the library to plain values.

Checkpoints hold only plain values and tensors. GaLore's projectors and Shampoo's preconditioners are objects; each is
saved as the name of its class and its attributes.
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
"""The classes of objects that occur in states."""

_CLASS = "wf_class"


class PlainState(Optimizer):
    """Mixin, before the library's class: reads and writes a state without objects."""

    def state_dict(self) -> dict[str, Any]:
        """The library's state, with each object as a dict of its class name and its attributes."""
        state: dict[str, Any] = to_plain(super().state_dict())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(from_plain(state_dict, self.param_groups[0]["params"][0].device))


def to_plain(value: Any) -> Any:
    """Replace each object of `CLASSES` by a dict."""
    if type(value).__name__ in CLASSES:
        return {_CLASS: type(value).__name__, **{name: to_plain(one) for name, one in vars(value).items()}}
    return _map(to_plain, value)


def from_plain(value: Any, device: torch.device) -> Any:
    """Rebuild each object from its dict, with its tensors copied to a device."""
    if type(value) is dict and _CLASS in value:
        made: Any = object.__new__(CLASSES[value[_CLASS]])
        vars(made).update({name: _copied(one, device) for name, one in value.items() if name != _CLASS})
        return made
    return _map(lambda one: from_plain(one, device), value)


def _copied(value: Any, device: torch.device) -> Any:
    """A copy of an attribute, which shares no memory with the loaded state."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if type(value) in (list, tuple):
        return type(value)(_copied(one, device) for one in value)
    return copy.deepcopy(from_plain(value, device))


def _map(function: Any, value: Any) -> Any:
    if type(value) is dict:
        return {key: function(one) for key, one in value.items()}
    return type(value)(map(function, value)) if type(value) in (list, tuple) else value
