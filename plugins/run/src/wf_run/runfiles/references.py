"""References in a run file: ``${env:NAME}`` to the environment, ``${optimizer.lr}`` to another key.

A value that is a single reference takes the type of its target; a reference within a longer string becomes text.
Values from the environment are written to the run directory as references, never as values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.errors import UsageError, unknown
from wf.typed import plain
from wf_cli.arguments import parse_value
from wf_run.runfiles.lists import divided
from wf_run.runfiles.said import SAID, Place, Reference, keys_in, placed, said_in, without_said

ENVIRONMENT = "env:"
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def is_reference(value: Any) -> bool:
    """Whether a value is a string with a reference in it."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def resolve(document: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """The document with its references resolved.

    Args:
        document: A merged and checked run file.
        lenient: Keep a reference unchanged if there is no such variable or key.

    Raises:
        UsageError: For a missing variable or key, or a circular reference.
    """
    if not _has_reference(without_said(document)):
        return dict(document)
    return _Resolver(document, lenient=lenient).resolved()


def from_environment(text: str) -> str:
    """A string in which references may only be to the environment."""
    for name in _REFERENCE.findall(text):
        if not name.startswith(ENVIRONMENT):
            raise UsageError(f"'${{{name}}}' is not allowed here, only ${{env:NAME}}")
    return _REFERENCE.sub(lambda found: _variable(found[1]), text)


def put_back(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with references to the environment instead of their values."""
    found = without_said(document)
    for reference in said_in(document).references:
        key, *inner = reference.place
        if key in KINDS or _equal(found.get(key), reference.value):
            found[key] = _replaced(found.get(key), tuple(inner), reference, exact=key not in KINDS.several)
    return found


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):  # live objects are not searched
        return any(_has_reference(one) for key, one in value.items() if key != "use" or isinstance(one, str))
    return any(map(_has_reference, value)) if isinstance(value, list) else is_reference(value)


def _replaced(value: Any, place: Place, reference: Reference, *, exact: bool) -> Any:
    """A copy of a value with the reference at its place, and wherever the same value occurs beside it."""
    if isinstance(value, Mapping):
        return {
            key: _replaced(one, place[1:], reference, exact=exact and place[:1] == (key,)) for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            _replaced(one, place[1:], reference, exact=exact and place[:1] == (str(number),))
            for number, one in enumerate(value)
        ]
    is_here = exact and not place and not _is_other_text(value, reference.value)
    return reference.text if is_here or _equal(value, reference.value) else value


def _is_other_text(value: Any, meant: Any) -> bool:
    """Whether a name may replace another one: ``csv`` for ``data.csv``."""
    return isinstance(value, str) and isinstance(meant, str) and value != meant


def _equal(value: Any, meant: Any) -> bool:
    """Whether a value equals the target, possibly converted, or the path that was found for it."""
    if isinstance(value, PurePath):
        return value == PurePath(str(meant)) or str(value).endswith(f"/{meant}")
    return (type(plain(value)) is type(plain(meant)) and value == meant) or str(value) == str(meant)


class _Resolver:
    """Resolves the references of one document."""

    def __init__(self, document: Mapping[str, Any], *, lenient: bool) -> None:
        self._document, self._lenient = document, lenient
        self._known = set(keys_in(without_said(document)))
        self._chain: list[Place] = []
        self._kept: list[Reference] = []

    def resolved(self) -> dict[str, Any]:
        """The document, with the references that are written back."""
        found = {key: self._value(value, (key,)) for key, value in without_said(self._document).items()}
        said = said_in(self._document)
        said = replace(said, references=(*said.references, *self._kept))
        return {**found, SAID: said}

    def _value(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {
                key: one if key == "use" and not isinstance(one, str) else self._value(one, (*place, str(key)))
                for key, one in value.items()
            }
        if type(value) is list:
            return [self._value(one, (*place, str(number))) for number, one in enumerate(value)]
        if not is_reference(value):
            return value
        found, is_secret = self._text(value, place)
        if is_secret:
            self._kept.append(Reference(place=place, text=value, value=found))
        return found

    def _text(self, text: str, place: Place) -> tuple[Any, bool]:
        """A string with its references resolved, and whether any of them is to the environment."""
        if place in self._chain:
            chain = [*self._chain[self._chain.index(place) :], place]
            raise self._refusal(f"{self._name(place)} refers to itself: {' -> '.join(map(self._name, chain))}", place)
        self._chain.append(place)
        try:
            if whole := _REFERENCE.fullmatch(text):
                return self._one(whole[1], place)
            parts, is_secret = [], False
            for number, part in enumerate(_REFERENCE.split(text)):
                found, from_outside = self._one(part, place) if number % 2 else (part, False)
                if isinstance(found, (list, Mapping)):
                    raise self._refusal(f"{self._name(place)}: ${{{part}}} is {found}, which is not text", place)
                parts.append(str(getattr(found, "text", found)))
                is_secret |= from_outside
            return "".join(parts), is_secret
        finally:
            self._chain.pop()

    def _one(self, name: str, place: Place) -> tuple[Any, bool]:
        """The value of one reference."""
        if name.startswith(ENVIRONMENT):
            if self._lenient and name.removeprefix(ENVIRONMENT) not in os.environ:
                return f"${{{name}}}", False
            try:
                return parse_value(_variable(name)), True
            except UsageError as error:
                raise self._refusal(f"{self._name(place)}: {error}", place) from error
        keys = self._key(name)
        if keys is None and self._lenient:
            return f"${{{name}}}", False
        if keys is None:
            known = [self._name(key) for key in self._known if not any(key == one[:-1] for one in self._known)]
            message = unknown("key", name, [*known, *GENERAL], f"{self._name(place)} refers to it")
            raise self._refusal(message, place)
        if keys not in self._known:
            return GENERAL[keys[0]].default, False
        value: Any = self._document
        for key in keys:
            value = value[int(key)] if isinstance(value, list) else value[key]
        if is_reference(value):
            return self._text(value, keys)
        if _has_reference(value):
            raise self._refusal(f"{self._name(place)} refers to {name}, which contains references", place)
        return value, False

    def _key(self, name: str) -> Place | None:
        """The key that ``optimizer.lr``, ``hook.early-stopping.patience`` or ``model`` refers to; None if there is
        none."""
        keys = tuple(name.split("."))
        kind = keys[0]
        if kind in KINDS.several and len(keys) > 1 and isinstance(tables := self._document.get(kind), list):
            names = [divided(table)[1] for table in tables]
            keys = (kind, str(names.index(keys[1])), *keys[2:]) if keys[1] in names else keys
        if keys in self._known and (kind in KINDS) == (len(keys) > 1):
            return keys
        if len(keys) == 1 and kind in KINDS and (kind, "use") in self._known:
            return (kind, "use")
        return keys if len(keys) == 1 and kind in GENERAL else None

    def _name(self, place: Place) -> str:
        """A key as users write it, ``hook.early-stopping.patience``."""
        if place[0] in KINDS.several and len(place) > 1:
            use = self._document[place[0]][int(place[1])].get("use")
            return ".".join((place[0], str(use), *place[2:]))
        return ".".join(place)

    def _refusal(self, message: str, place: Place) -> Exception:
        """An error with the location of the reference."""
        said = said_in(self._document).places.get(place)
        return placed(UsageError(f"{said}: {message}" if said else message))


def _variable(name: str) -> str:
    """The value of an environment variable."""
    variable = name.removeprefix(ENVIRONMENT)
    if variable not in os.environ:
        raise UsageError(
            f"the environment has no variable {variable}, which ${{{name}}} refers to\n  set it: export {variable}=..."
        )
    return os.environ[variable]
