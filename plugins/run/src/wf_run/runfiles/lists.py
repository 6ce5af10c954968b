"""Lists of components, such as hooks and metrics, in one form for run files, the command line and Python.

A list is a list of tables. Plain names replace the whole list. ``+NAME`` adds a component to the existing list (the
extended run file's, or the defaults), ``no:NAME`` removes one, and ``set:NAME`` sets options of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wf.errors import UsageError, unknown
from wf_cli.arguments import ADD, REMOVE, SET

NOTHING = {"use": f"{REMOVE}*"}
"""The change that removes everything."""


def divided(table: Any) -> tuple[str, Any]:
    """The sign of an entry, empty for none, and its name without it."""
    use = table.get("use") if isinstance(table, Mapping) else table
    if isinstance(use, str):
        for sign in (ADD, REMOVE, SET):
            if use.startswith(sign):
                return sign, use[len(sign) :]
    return "", use


def is_changed(tables: Iterable[Any]) -> bool:
    """Whether a list has changes that are not applied yet."""
    return any(divided(table)[0] for table in tables)


def keeps(tables: Sequence[Any] | None) -> bool:
    """Whether a list only changes the list that it overrides."""
    if tables is None:
        return True
    return bool(tables) and NOTHING not in tables and all(divided(table)[0] for table in tables)


def laid_over(base: Sequence[Any] | None, over: Sequence[Any]) -> list[Any]:
    """A list that overrides another one; unresolved changes are kept for `changed`, which knows the defaults."""
    if not keeps(over):
        return list(over)
    return [*([NOTHING] if base is not None and not base else base or ()), *over]


def with_names(tables: Sequence[Any], added: Callable[[Any], Any], there: Callable[[str], str]) -> list[Any]:
    """A list with other names.

    Args:
        tables: The list.
        added: Returns the new name of a component that is added.
        there: Returns the new name of a component that is in it.
    """
    found = []
    for table in tables:
        sign, name = divided(table)
        if table != NOTHING and isinstance(table, Mapping):
            name = f"{sign}{there(name)}" if sign in (REMOVE, SET) else f"{sign}{added(name)}" if sign else added(name)
            table = {**table, "use": name}
        found.append(table)
    return found


def changed(kind: str, tables: Sequence[Any] | None, defaults: Sequence[Any]) -> list[Any]:
    """A list with its changes applied.

    Args:
        kind: The kind of its components.
        tables: The list; None for the default list.
        defaults: The tables of a run that does not mention the kind.

    Raises:
        UsageError: If a change names a component that is not in the list.
    """
    if tables is None or not is_changed(tables):
        return list(defaults if tables is None else tables)
    found = list(defaults) if keeps(tables) else []
    removed: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    for table in tables:
        sign, name = divided(table)
        if sign == REMOVE:
            removed += [] if table == NOTHING else [name]
        elif sign == SET:
            options.setdefault(name, {}).update({key: value for key, value in table.items() if key != "use"})
        else:
            found.append({**table, "use": name} if sign else table)
    return _applied(kind, found, removed, options)


def _applied(
    kind: str, tables: Sequence[Any], removed: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> list[Any]:
    """Take `removed` out of a list of tables and set `options` on those it names."""
    names = [table["use"] if isinstance(table, Mapping) else table for table in tables]
    meant = {name: _meant(name, names) for name in (*removed, *options)}
    for name, found in meant.items():
        if found not in names:
            hint = "" if name in removed else f"add it: --{kind} +{name}"
            raise UsageError(unknown(f"{kind} of this run", name, [str(name) for name in names], hint))
    gone = [meant[name] for name in removed]
    changes: dict[str, dict[str, Any]] = {}
    for name, table in options.items():
        changes.setdefault(meant[name], {}).update(table)
    kept = [table for table, name in zip(tables, names, strict=True) if name not in gone]
    return [
        {**table, **changes.get(table["use"], {})} if isinstance(table, Mapping) and table["use"] in changes else table
        for table in kept
    ]


def _meant(name: str, names: Sequence[Any]) -> str:
    """The matching name: the same, or, without ``@provider``, the only one of that name."""
    alike = [one for one in names if isinstance(one, str) and one.partition("@")[0] == name]
    return alike[0] if len(alike) == 1 and name not in names else name
