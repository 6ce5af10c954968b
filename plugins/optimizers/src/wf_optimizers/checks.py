"""Checks of options, shared by optimizers and schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from wf.errors import UsageError


def require(valid: bool, component: str, option: str, value: object, allowed: str) -> None:
    """Refuse an option's value unless `valid`.

    Raises:
        UsageError: Naming the component, the option, its value and the allowed values.
    """
    if not valid:
        raise UsageError(f"{component}: {option} is {value}; it must be {allowed}")


def require_positive(component: str, **options: float) -> None:
    """Refuse options that are not finite and greater than 0."""
    for option, value in options.items():
        require(0 < value < math.inf, component, option, value, "greater than 0")


def require_not_negative(component: str, **options: float) -> None:
    """Refuse options that are not finite and at least 0."""
    for option, value in options.items():
        require(0 <= value < math.inf, component, option, value, "at least 0")


def require_decay(component: str, **options: float) -> None:
    """Refuse decay rates of running averages outside [0, 1)."""
    for option, value in options.items():
        require(0 <= value < 1, component, option, value, "at least 0 and less than 1")


def require_params(component: str, params: list[nn.Parameter]) -> None:
    """Refuse a model without trainable parameters."""
    if not params:
        raise UsageError(f"{component}: the model and the loss have no trainable parameters, so nothing can be trained")


Optimizer = TypeVar("Optimizer")


def made(component: str, make: Callable[..., Optimizer], params: list[nn.Parameter], **options: Any) -> Optimizer:
    """An optimizer of torch.

    Raises:
        UsageError: If it cannot update these parameters with these options.
    """
    try:
        return make(params, **options)
    except RuntimeError as error:
        raise UsageError(f"{component}: {error}\n  leave out --optimizer.fused and --optimizer.foreach") from error
