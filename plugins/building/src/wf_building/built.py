"""Components that were made: their origin, their table in a run file, their traits."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from enum import Enum
from pathlib import Path
from typing import Any

from wf.discovery.entry import Entry
from wf.traits import Traits
from wf_building.scopes import SCOPED

LIVE = "live "
"""The prefix of a live object's class in place of a name."""


@dataclass(frozen=True)
class Built:
    """A component that was made."""

    value: Any
    """The object."""
    entry: Entry | None
    """Where it came from; None for a live object."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its converted options, defaults included, without run values."""
    ambiguous: bool = False
    """Several plugins have its name, so a run file must name the plugin."""
    scopes: Mapping[str, Built] = field(default_factory=dict)
    """Its components by scope, see `wf_building.scopes`."""

    @property
    def repeatable(self) -> bool:
        """Whether a run file can rebuild it: neither it nor an option is a live object."""
        entry = self.entry
        if self.scopes:
            return all(one.repeatable for one in self.scopes.values())
        named = entry is not None and (entry.plugin is not None or isinstance(entry.component.target, str))
        return named and is_plain(self.options)

    @property
    def name(self) -> str:
        """The component's name, or the live object's class."""
        return self.entry.component.name if self.entry else name_of_live(self.value)

    def table(self) -> dict[str, Any]:
        """Its table in a run file."""
        if self.entry is None:
            return {"use": f"{LIVE}{type(self.value).__module__}:{type(self.value).__qualname__}"}
        component = self.entry.component
        if self.scopes:
            return {"use": SCOPED, **{name: one.table() for name, one in self.scopes.items()}}
        own = self.entry.plugin is None
        provider = f"@{self.entry.provider}" if self.ambiguous else ""
        return {"use": component.target_name if own else f"{component.name}{provider}", **self.options}


def origin_of(entry: Entry | None) -> str:
    """The plugin of a component, or the user's file or module."""
    if entry is None or entry.plugin is not None:
        return entry.provider if entry else "own code"
    target = entry.component.target
    return target.rpartition(":")[0] if isinstance(target, str) else "own code"


def name_of_live(value: Any) -> str:
    """The name of a live object in messages and in the run directory's name."""
    return "data" if isinstance(value, (tuple, list)) else type(value).__name__


def is_plain(value: Any) -> bool:
    """Whether a run file can hold the value and return it unchanged."""
    if isinstance(value, str):
        return not value.startswith(LIVE)
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or (isinstance(value, (bool, int, float, Path, date, time)) and not isinstance(value, Enum))


_TRAITS: weakref.WeakKeyDictionary[Any, Traits | None] = weakref.WeakKeyDictionary()


def traits_of(value: Any) -> Traits | None:
    """The traits of a component that was built for another one; None if unknown."""
    try:
        return _TRAITS.get(value)
    except TypeError:  # it cannot be a key
        return None


def note_traits(value: Any, traits: Any) -> None:
    """Keep them beside the object, not on it: many take every attribute for state."""
    with contextlib.suppress(TypeError):
        _TRAITS[value] = traits
