"""Old names that keep working, each with one warning that says the new one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from wf.component import Component
from wf.errors import UsageError

log = logging.getLogger("wf")
_said: set[str] = set()


def check_name(component: Component, name: str) -> None:
    """Warn when a component was asked for by a name that it had before."""
    if name in component.deprecated_names:
        warn_once(f"{component.kind} '{name}' is called '{component.name}' now; the old name will go")


def current_options(component: Component, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options under the names that they have now, with a warning for each old one.

    Raises:
        UsageError: When an option is given under its old name and its new one.
    """
    current: dict[str, Any] = {}
    for name, value in options.items():
        new = component.deprecated_params.get(name, name)
        if new != name:
            owner = f"{component.kind} '{component.name}'"
            if new in options:
                raise UsageError(f"{owner} is given '{new}' twice: '{name}' is its old name\n  leave out '{name}'")
            warn_once(f"option '{name}' of {owner} is called '{new}' now; the old name will go")
        current[new] = value
    return current


def warn_once(message: str) -> None:
    """Log a warning, the first time that it is given in this process."""
    if message not in _said:
        _said.add(message)
        log.warning(message)
