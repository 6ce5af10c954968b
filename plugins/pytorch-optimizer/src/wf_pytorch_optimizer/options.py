"""The options of a library's optimizer, as they can be written in a run file.

The library's annotations name tensors, dtypes, callables and numbers that stand for the values of an enum. Here a dtype
and an enum's value are chosen by name, and what only Python code can give (a callable, a set of tensors) is left out.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Literal, Union

import docstring_parser
import torch

DType = Literal["bfloat16", "float16", "float32", "float64"]
"""The floating dtypes by name."""

_PLAIN = (bool, int, float, str, dict, type(None), Any)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The named parameters of a class or function, annotations resolved."""
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    return [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def written(parameter: inspect.Parameter) -> inspect.Parameter | None:
    """The library's parameter as an option; None when no run file can hold a value of it."""
    default = parameter.default
    if isinstance(default, Enum):
        annotation: Any = Literal[tuple(member.name.lower() for member in type(default))]
        return parameter.replace(annotation=annotation, default=default.name.lower())
    annotation = _annotation(parameter.annotation)
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


def docstring(source: Any, summary: str, parameters: Iterable[inspect.Parameter], more: dict[str, str]) -> str:
    """The docstring of a library's class, for other parameters than its own.

    Args:
        source: The class.
        summary: The first line.
        parameters: What is to be documented.
        more: Descriptions that go before the class's own.
    """
    parsed = docstring_parser.parse(inspect.cleandoc(source.__doc__ or ""))
    help_texts = {param.arg_name: param.description or "" for param in parsed.params} | more
    lines = [f"    {one.name}: {' '.join(help_texts[one.name].split())}" for one in parameters]
    text = [summary, *([parsed.long_description] if parsed.long_description else []), "\n".join(["Args:", *lines])]
    return "\n\n".join(text)


def _annotation(annotation: Any) -> Any:
    """An annotation without what cannot be written; None when nothing is left of it."""
    if annotation is torch.dtype:
        return DType
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        left = [one for one in map(_annotation, args) if one is not None]
        return Union[tuple(left)] if set(left) - {type(None)} else None  # noqa: UP007 - it is made, not written
    return annotation if annotation in _PLAIN or origin in (Literal, list, tuple, dict) else None
