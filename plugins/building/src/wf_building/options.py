"""Options as a table has them: their names are checked, and messages about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wf.declarations.component import Param
from wf.declarations.general import GENERAL
from wf.discovery.deprecation import current_options
from wf.discovery.entry import Entry
from wf.errors import UsageError
from wf.parameters import check_known


def check_options(entry: Entry, options: Mapping[str, Any], params: tuple[Param, ...]) -> dict[str, Any]:
    """The options under the names that they have now.

    Raises:
        UsageError: For an unknown option, suggesting the closest ones.
    """
    component = entry.component
    current = current_options(component, options)
    _check_misplaced(current, params, component.kind)
    see = f"{component.kind} {component.name}" if entry.plugin else ""
    check_known(list(current), params, f"{component.kind} '{component.name}'", see)
    return current


def _check_misplaced(options: Mapping[str, Any], params: tuple[Param, ...], kind: str) -> None:
    """Explain a general key below a table."""
    for name in options:
        if name in GENERAL and name not in {param.name for param in params}:
            raise UsageError(
                f"'{name}' is a general key, not an option of the {kind}\n"
                f"  in a run file a key belongs to the [table] above it: move '{name}' above the first table\n"
                f"  on the command line it is --{name.replace('_', '-')}"
            )


def as_list(kind: str, value: Any, owner: str) -> Sequence[Any]:
    """The components that an option for several has.

    Raises:
        UsageError: Where it is not a list.
    """
    if not isinstance(value, (list, tuple)):
        raise UsageError(f'{owner}: a list of {kind}s is wanted, as \'[{{use = "NAME"}}, {{use = "NAME"}}]\'')
    return value


def missing(param: Param, owner: str, prefix: str) -> str:
    """The message for an option that must be given."""
    lines = [f"{owner} needs option '{param.name}'{f': --{prefix}.{param.name} VALUE' if prefix else ', in its table'}"]
    if param.help:
        lines.append(f"{param.name}: {param.help}")
    return "\n  ".join(lines)
