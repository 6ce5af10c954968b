"""Checks of a dataclass's fields against their annotations, for the plain types that declarations use."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple


def check_fields(declaration: Any, owner: str) -> None:
    """Refuse a field whose value does not have its annotated type.

    Classes, ``Literal``, ``tuple[X, ...]``, ``Mapping[X, Y]``, ``Callable``, ``Any`` and unions of them are understood.

    Args:
        declaration: An instance of a dataclass.
        owner: Its title in messages, a format string with the declaration as ``{0}``: ``"component '{0.name}'"``.

    Raises:
        ValueError: Naming the first such field, its value and the expected type.
    """
    values = vars(declaration)
    for name, default, classes, fits, annotation in _fields(declaration.__class__):
        value = values[name]
        if not (value is default or isinstance(value, classes) or fits(value)):
            raise ValueError(f"{owner.format(declaration)}: {name} {_misfit(annotation, value)}")


class _Field(NamedTuple):
    """A field and its tests, the quick ones first: there may be thousands of components."""

    name: str
    default: Any
    classes: tuple[type, ...]
    """All instances of these fit."""
    fits: Callable[[Any], bool]
    annotation: Any


@cache
def _fields(declaration: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(declaration)
    return tuple(
        _Field(field.name, field.default, _classes(hint), _test(hint), hint)
        for field in dataclasses.fields(declaration)
        for hint in (hints[field.name],)
    )


def _classes(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation accepts without further checks."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(one for arg in typing.get_args(annotation) for one in _classes(arg))
    if annotation is Any:
        return (object,)
    return (annotation,) if isinstance(annotation, type) else ()


def _test(annotation: Any) -> Callable[[Any], bool]:
    """A function that tells whether a value has an annotated type."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return lambda value: isinstance(value, str) and value in args
    if origin in (typing.Union, types.UnionType):
        tests = [_test(arg) for arg in args]
        return lambda value: any(test(value) for test in tests)
    if origin is tuple:
        of_item = _test(args[0])
        return lambda value: isinstance(value, tuple) and all(map(of_item, value))
    if origin is Mapping:
        of_key, of_value = map(_test, args)
        return lambda value: (
            value == {}
            or (isinstance(value, Mapping) and all(map(of_key, value)) and all(map(of_value, value.values())))
        )
    classes = _classes(annotation)
    return callable if origin is Callable else lambda value: isinstance(value, classes)


def _misfit(annotation: Any, value: Any) -> str:
    """A value and its expected type, for messages."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        tuples = [arg for arg in args if typing.get_origin(arg) is tuple and isinstance(value, (str, tuple))]
        return _misfit(tuples[0], value) if tuples else f"is {_shown(value)}, not {_wanted(annotation)}"
    if origin is tuple and isinstance(value, tuple):
        wrong = next(item for item in value if not _test(args[0])(item))
        return f"has {_shown(wrong)}, not {_wanted(args[0])}"
    if origin is tuple and isinstance(value, str):
        return "is a string, not a tuple; is a comma missing?"
    return f"is {_shown(value)}, not {_wanted(annotation)}"


def _shown(value: Any) -> str:
    """A short text unchanged, anything else by its type."""
    return f"'{value}'" if isinstance(value, str) and len(value) <= 40 else type(value).__name__


def _wanted(annotation: Any) -> str:
    """An annotation, for messages."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"one of {', '.join(args)}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_wanted, args))
    if origin in (tuple, Mapping):
        inner = [_wanted(arg) for arg in args if arg is not ...]
        return f"a {'tuple' if origin is tuple else 'table'} of {' to '.join(inner)}"
    if origin is Callable:
        return "something to call"
    words = {str: "text", bool: "True or False", types.NoneType: "None"}
    return words.get(annotation) or str(annotation.__name__)
