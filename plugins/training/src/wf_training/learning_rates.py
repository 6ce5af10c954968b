"""Reading learning rates, and scaling all of them together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

_RATE = re.compile(r"(.*_)?lrs?|eta_m(in|ax)")
"""The names under which torch's optimizers and schedulers, and similar ones, store learning rates."""


def rates(optimizer: Any) -> list[float]:
    """The learning rate of each parameter group that has one; empty without an optimizer."""
    groups = getattr(optimizer, "param_groups", ())
    return [float(group["lr"]) for group in groups if group.get("lr") is not None]


def scale_rates(optimizer: Any, scheduler: Any, factor: float) -> None:
    """Multiply every learning rate by `factor`, as if the run had been configured with the products.

    Args:
        optimizer: Has `param_groups`; a scheduler may store its own rates there (``initial_lr``, ``max_lr``).
        scheduler: Its base rates, limits and last rates are scaled, too, including nested schedulers. May be None.
        factor: Larger than 0.
    """
    for group in optimizer.param_groups:
        _scale(group, factor)
    for part in _schedulers(scheduler):
        _scale(vars(part), factor)


def _scale(values: dict[str, Any], factor: float) -> None:
    for name, value in values.items():
        if _RATE.fullmatch(name):
            values[name] = _times(value, factor)


def _times(value: Any, factor: float) -> Any:
    """Multiply a rate or several; anything that is not a number is unchanged."""
    if isinstance(value, list | tuple):
        return type(value)(_times(one, factor) for one in value)
    return value * factor if isinstance(value, float | int | Tensor) and not isinstance(value, bool) else value


def _schedulers(scheduler: Any) -> Iterator[Any]:
    """A scheduler and its nested schedulers."""
    if scheduler is None:
        return
    yield scheduler
    for value in vars(scheduler).values():
        for inner in value if isinstance(value, list | tuple) else (value,):
            if isinstance(inner, LRScheduler):
                yield from _schedulers(inner)
