"""Old names that keep working, each with one warning that says the new one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from wf.declarations.component import Component

log = logging.getLogger("wf")
_said: set[str] = set()


def check_name(component: Component, name: str) -> None:
    """Warn when a component was asked for by a name that it had before."""
    if name in component.deprecated_names:
        warn_once(f"{component.kind} '{name}' is called '{component.name}' now; the old name will go")


def current_options(component: Component, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options under their present names, with a warning for each old name.

    If an option is given under both names, the later one counts: the command line overrides a run file.
    """
    current: dict[str, Any] = {}
    for name, value in options.items():
        new = component.deprecated_params.get(name, name)
        if new != name:
            both = f"; both are given, and '{_last(options, (name, new))}' counts" if new in options else ""
            owner = f"{component.kind} '{component.name}'"
            warn_once(f"option '{name}' of {owner} is called '{new}' now; the old name will go{both}")
        current[new] = value
    return current


def _last(options: Mapping[str, Any], names: Sequence[str]) -> str:
    return [name for name in options if name in names][-1]


def warn_once(message: str) -> None:
    """Log a warning, the first time that it is given in this process."""
    if message not in _said:
        _said.add(message)
        log.warning(message)
