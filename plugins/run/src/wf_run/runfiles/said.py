"""The origins of a run file's values: files and lines, and references.

A document that was read from files carries its origins under the key `SAID`, through merging and planning. They are
never written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.errors import DataError, UsageError
from wf_run.runfiles.lists import divided, keeps

SAID = "${}"
"""The key of the origins in a document; no run file can contain it."""

Place = tuple[str, ...]
"""A key of a run file: ``("optimizer", "lr")``, ``("hook", "0", "patience")``."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A value that was written as a reference, and is written back as one."""

    place: Place
    text: str
    """The text in the run file: ``${env:DATA}/photos``."""
    value: Any
    """Its value."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """The origins of a document's values."""

    places: Mapping[Place, str] = field(default_factory=dict)
    """File and line of each key: ``base.toml:7``."""
    references: tuple[Reference, ...] = ()
    files: tuple[Path, ...] = ()
    """The files that were read, in increasing precedence."""
    notes: tuple[str, ...] = ()
    """Messages about merging them."""

    def __str__(self) -> str:
        return ""  # moving a line does not change the run

    __repr__ = __str__


def said_in(document: Mapping[str, Any]) -> Said:
    """The origins attached to a document."""
    found = document.get(SAID)
    return found if isinstance(found, Said) else Said()


def without_said(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document's own keys."""
    return {key: value for key, value in document.items() if key != SAID}


def keys_in(value: Any, above: Place = ()) -> Iterator[Place]:
    """Each key in a document, including tables and items of lists."""
    if above:
        yield above
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "use" and not isinstance(inner, str):  # a live object
                yield (*above, key)
            elif key != SAID:
                yield from keys_in(inner, (*above, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from keys_in(inner, (*above, str(number)))


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any], merged: Mapping[str, Any]) -> Said:
    """Where the values of a merged document were said.

    Args:
        base: The lower document.
        over: The document that overrides it.
        merged: The merged document.
    """
    lower, upper = said_in(base), said_in(over)
    lists = {key for key in over if key in KINDS.several and not _is_addition(key, over[key])}
    added = {key for key in over if _is_addition(key, over[key])}
    others = {place for place in keys_in(without_said(over)) if place not in upper.places and place[0] not in added}
    places = {
        place: said
        for place in keys_in(without_said(merged))
        if (
            said := (None if place[0] in added else upper.places.get(place))
            or (lower.places.get(place) if place[0] not in lists else None)
        )
        and place not in others
    }
    places |= {place: said for place, said in lower.places.items() if place[0] in added or _is_by_name(place, lists)}
    for (key, *below), said in upper.places.items():
        if key in added and below:
            name = divided(over[key][int(below[0])])[1] if below[0].isdigit() else below[0]
            places[key, str(name), *below[1:]] = said
    return Said(
        places=places,
        references=(*lower.references, *upper.references),
        files=(*lower.files, *upper.files),
        notes=(*lower.notes, *upper.notes),
    )


def _is_addition(kind: str, value: Any) -> bool:
    """Whether a list of components only gets additions."""
    return kind in KINDS.several and isinstance(value, list) and keeps(value)


def _is_by_name(place: Place, lists: Collection[str]) -> bool:
    """Whether it is the key of a change within a list, which contains the component's name."""
    return place[0] in KINDS.several and place[0] not in lists and len(place) > 1 and not place[1].isdigit()


def with_said(document: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The document with changed origins."""
    return {**document, SAID: replace(said_in(document), **changes)}


def placed(error: UsageError | DataError) -> UsageError | DataError:
    """The error, marked as already having the location of the value."""
    error.place = True  # type: ignore[union-attr]  # for `naming_place` alone
    return error


@contextmanager
def naming_place(document: Mapping[str, Any]) -> Iterator[None]:
    """Prefix an error about a value of a run file with its file and line."""
    try:
        yield
    except (UsageError, DataError) as error:
        place = "" if hasattr(error, "place") else place_of(str(error), document)
        if place and error.args:
            error.args = (f"{place}: {error}", *error.args[1:])
            placed(error)
        raise


def place_of(message: str, document: Mapping[str, Any]) -> str:
    """The file and line of the value that a message is about; empty if there is none.

    Messages name the component and quote the option, ``unknown option 'momentun' of optimizer 'sgd'``, or begin with
    the general key: ``batch_size must be ...``.
    """
    places, first = said_in(document).places, message.partition("\n")[0]
    if not places:
        return ""
    options = list(_options(first, document))
    found = options or [(key,) for key in GENERAL if _names(first, key)] or list(_choices(first, document))
    return next((places[place] for place in found if place in places), "")


def _options(line: str, document: Mapping[str, Any]) -> Iterator[Place]:
    """The options quoted in a message that belong to a component named in it."""
    for kind, above, table in _tables(document):
        use = str(table.get("use", ""))
        if _names(line, kind) and (kind not in KINDS.several or f"'{use.partition('@')[0]}'" in line):
            quoted = [name for name in table if name != "use" and f"'{name}'" in line]
            yield from ((*above, name) for name in quoted)


def _choices(line: str, document: Mapping[str, Any]) -> Iterator[Place]:
    """The components that a message names."""
    for kind, above, table in _tables(document):
        if f"{kind} '{table.get('use')}'" in line:
            yield (*above, "use")


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[str, Place, Mapping[str, Any]]]:
    """The tables of the document's components with their keys."""
    for kind in KINDS:
        value = document.get(kind)
        if isinstance(value, Mapping):
            yield kind, (kind,), value
        for number, table in enumerate(value if isinstance(value, Sequence) and not isinstance(value, str) else ()):
            if isinstance(table, Mapping):
                yield kind, (kind, str(number)), table


def _names(line: str, word: str) -> bool:
    """Whether a line contains a word, also with hyphens instead of underscores."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line) is not None
