"""Values as they were typed: only the type of its option tells whether ``2021`` is a number or text.

A command line is read before the options' types are known. So a number keeps the text that it was typed as, and an
option that is given more than once keeps all its values. (In a run file, quotes mark text.)
"""

from __future__ import annotations

import logging
import math
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

_LOG = logging.getLogger("wf")


class Typed:
    """The common base of a number and a boolean that keep their text."""

    text: str


class TypedInt(int, Typed):
    """A whole number that was typed, as ``2021`` or ``1_000``."""


class TypedFloat(float, Typed):
    """A number that was typed, as ``1e-3``."""


class TypedBool(int, Typed):
    """A ``true`` or ``false`` that was typed; a plain True is an option without a value."""


class Repeated(list[Any]):
    """The values of an option that is given more than once."""

    told = False
    """Whether the user was told that only the last one counts."""


def last_of(values: Repeated, what: str) -> Any:
    """The last value of an option that was given more than once but takes one value; warns once."""
    if not values.told:
        _LOG.warning("%s is given more than once; the last one counts: %s", what, values[-1])
        values.told = True
    return values[-1]


def typed(value: Any, text: str | None = None) -> Any:
    """A number or a boolean that keeps the text it was typed as; everything else as it is.

    Args:
        value: The text as TOML reads it; in a list each number's text is as TOML writes it.
        text: The typed text.
    """
    if type(value) is list:
        return [typed(item) for item in value]
    if not isinstance(value, (int, float)) or isinstance(value, Typed):
        return value
    kind = TypedBool if isinstance(value, bool) else TypedInt if isinstance(value, int) else TypedFloat
    made = kind(value)
    made.text = str(value).lower() if text is None else text
    return made


def plain(value: Any) -> Any:
    """A value without the text that it was typed as."""
    for kind, without in ((TypedBool, bool), (TypedInt, int), (TypedFloat, float)):
        if isinstance(value, kind):
            return without(value)
    return value


def as_wanted(value: Any, annotation: Any) -> Any:
    """A value for an option with that annotation: the typed text, if the option takes only text."""
    if type(value) is list:
        inner = _of_items(annotation)
        return [as_wanted(item, inner) for item in value]
    if type(value) is dict:
        return {key: as_wanted(item, Any) for key, item in value.items()}
    return value.text if isinstance(value, Typed) and _wants_text(annotation) else plain(value)


def _wants_text(annotation: Any) -> bool:
    """Whether an annotation allows text but no numbers."""
    kinds = _kinds(annotation)
    return any(issubclass(kind, (str, PurePath)) for kind in kinds) and not any(
        issubclass(kind, (int, float, complex)) or kind is object for kind in kinds
    )


def _of_items(annotation: Any) -> Any:
    """The annotation of a list's items; Any if there is none."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _of_items(args[0])
    if origin in (typing.Union, types.UnionType):
        return next((inner for inner in map(_of_items, args) if inner is not Any), Any)
    items = [arg for arg in args if arg is not Ellipsis]
    is_list = isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, Mapping)
    return items[0] if is_list and items and all(item == items[0] for item in items) else Any


def _kinds(annotation: Any) -> set[type]:
    """The classes of an annotation's values; object if unknown."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kinds(args[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_kinds, args))
    if origin is typing.Literal:
        return {type(arg) for arg in args}
    kind = origin or annotation
    return {kind if isinstance(kind, type) else type(None) if kind is None else object}


def finite(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite as None, tensors and arrays as lists or numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
