"""The options of a library's optimizer, as they can be written in a run file.

The library's annotations name tensors, dtypes, callables and numbers that stand for the values of an enum. Here a dtype
and an enum's value are chosen by name, and what only Python code can give (a callable, a set of tensors) is left out.
"""

from __future__ import annotations

import inspect
import typing
from enum import Enum
from typing import Any, Literal

import torch

from wf_catalogues.members import writable

DType = Literal["bfloat16", "float16", "float32", "float64"]
"""The floating dtypes by name."""


def written(parameter: inspect.Parameter) -> inspect.Parameter | None:
    """The library's parameter as an option; None when no run file can hold a value of it."""
    default = parameter.default
    if isinstance(default, Enum):
        annotation: Any = Literal[tuple(member.name.lower() for member in type(default))]
        return parameter.replace(annotation=annotation, default=default.name.lower())
    annotation = writable(parameter.annotation, {torch.dtype: DType})
    if annotation is None:
        return None
    if isinstance(default, torch.dtype):
        default = str(default).removeprefix("torch.")
    return parameter.replace(annotation=annotation, default=default)


def given(parameter: inspect.Parameter, value: Any) -> Any:
    """The value of an option as the library takes it."""
    if isinstance(parameter.default, Enum) and isinstance(value, str):
        return int(getattr(type(parameter.default), value.upper()))  # as a number: a checkpoint holds no enum
    if isinstance(value, str) and torch.dtype in (parameter.annotation, *typing.get_args(parameter.annotation)):
        return getattr(torch, value)
    return value
