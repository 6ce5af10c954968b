"""Looks up the names of a run's components, and checks their options without importing targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf.declarations.component import Param
from wf.declarations.kinds import KINDS
from wf.parameters import convert, takes_several, with_names, without_null
from wf.registry import Registry
from wf_building.checked import Checked
from wf_building.options import as_list, check_options
from wf_building.scopes import SCOPED
from wf_cli.arguments import ADD
from wf_run.runfiles import lists
from wf_run.runfiles.runfile import options_of


def check_names(plan: dict[str, Any], registry: Registry) -> None:
    """Look up every name of a run, and check and convert the options as far as possible without importing targets.

    Raises:
        UsageError: For the first unknown name, or value that does not fit.
    """
    for kind in KINDS:
        value = plan.get(kind)
        if isinstance(value, list):
            plan[kind] = [_checked_in_list(kind, table, registry) for table in value]
        elif value:
            plan[kind] = _checked_table(kind, value, registry)


def _checked_in_list(kind: str, table: Any, registry: Registry) -> Any:
    """The same for an entry of a list."""
    sign, name = lists.divided(table)
    if not sign:
        return _checked_table(kind, table, registry)
    if sign == ADD:
        _checked_table(kind, {**table, "use": name}, registry)
    return table


def _checked_table(kind: str, table: Any, registry: Registry) -> Any:
    """Look up a component's name, and check its options; returns the table with the entry."""
    use = table.get("use") if isinstance(table, Mapping) else table
    if not isinstance(use, str):
        return table
    if use == SCOPED and isinstance(table, Mapping):
        return {**table, **{name: _checked_table(kind, own, registry) for name, own in options_of(kind, table).items()}}
    entry = registry.find(kind, use)
    options = options_of(kind, table) if isinstance(table, Mapping) else {}
    params = entry.params_unloaded() if options else None
    if params is None:
        return table
    current, converted = check_options(entry, options, params), set[str]()
    for param in with_names(params, current):
        if param.name in current:
            owner = f"{kind} '{entry.component.name}'"
            current[param.name], is_done = check_value(param, without_null(current[param.name]), owner, registry)
            converted |= {param.name} if is_done else set()
    return Checked(table, entry, current, converted)


def check_value(param: Param, value: Any, owner: str, registry: Registry) -> tuple[Any, bool]:
    """Refuse a value that certainly does not fit; a live object is checked later.

    Returns:
        The value, and whether it is already converted.

    Raises:
        UsageError: With the expected type.
    """
    from wf_signatures.reading import is_exact  # 7 ms, and only where there are options

    if param.kind is not None and value is not None and takes_several(param.type):
        return [_checked_table(param.kind, table, registry) for table in as_list(param.kind, value, owner)], False
    if param.kind is not None:
        return _checked_table(param.kind, value, registry), False
    if is_exact(param.type) and (value is None or isinstance(value, (str, int, float, list, dict))):
        return convert(param, value, owner), True
    return value, False


def full_name(kind: str, name: Any, registry: Registry) -> Any:
    """The name of a component with its provider where several have it; other values are unchanged."""
    if not isinstance(name, str) or ":" in name or not registry.has(kind, name.partition("@")[0]):
        return name
    entry = registry.find(kind, name)
    return registry.full_name(entry)


def name_in_list(kind: str, name: str, registry: Registry) -> str:
    """The name of a component as it stands in a run's list, with its provider if several plugins have that name."""
    names = {entry.component.name for entry in registry.providers(kind, name)}
    return names.pop() if len(names) == 1 else str(full_name(kind, name, registry))
