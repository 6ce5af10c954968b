"""The options of a library's optimizer in a form for run files.

The library's options include tensors, dtypes, callables and numeric enums. In a run file a dtype or an enum member is
given by name. Options that only Python code can set (callables, sets of tensors) are left out.
"""

from __future__ import annotations

import inspect
import typing
from enum import Enum
from typing import Any, Literal

import torch

from wf_catalogues.members import writable

DType = Literal["bfloat16", "float16", "float32", "float64"]
"""Names of the floating dtypes."""


def written(parameter: inspect.Parameter) -> inspect.Parameter | None:
    """The option for a parameter of the library; None if a run file cannot hold its values."""
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
    """The value of an option, converted for the library."""
    if isinstance(parameter.default, Enum) and isinstance(value, str):
        return int(getattr(type(parameter.default), value.upper()))  # a number, because checkpoints hold no enums
    if isinstance(value, str) and torch.dtype in (parameter.annotation, *typing.get_args(parameter.annotation)):
        return getattr(torch, value)
    return value
