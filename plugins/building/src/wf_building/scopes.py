"""Scopes: several named components of a kind in one run, declared by the trainer.

A trainer of a generator and a discriminator declares ``scopes = {"model": ("generator", "discriminator")}``: its run
has ``[model.generator]`` and ``[model.discriminator]``, and no plain ``[model]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wf.declarations.component import Component, Param
from wf.discovery.entry import Entry
from wf.errors import PluginError, UsageError
from wf.traits import TrainerTraits

SCOPED = "scoped"
"""The ``use`` in the table of a kind with scopes; their tables are below it."""
KINDS_WITH_SCOPES = ("model", "optimizer")


def scopes_of(trainer: Entry | Any) -> Mapping[str, tuple[str, ...]]:
    """The scopes that a trainer declares, by kind: a plugin's trainer in its traits, a user's class as an attribute
    `scopes`.

    Raises:
        PluginError: For a kind other than model and optimizer, or a name that no option can have.
    """
    if isinstance(trainer, Entry) and trainer.plugin is not None:
        traits = trainer.component.traits
        found: Any = traits.scopes if isinstance(traits, TrainerTraits) else {}
    else:
        made = trainer.load() if isinstance(trainer, Entry) else trainer
        found = getattr(getattr(made, "func", made), "scopes", None) or {}
    if not isinstance(found, Mapping):
        raise PluginError(f"a trainer's scopes are names by kind, not {type(found).__name__}")
    for kind, names in found.items():
        if kind not in KINDS_WITH_SCOPES:
            raise PluginError(f"a trainer has scopes of {' and '.join(KINDS_WITH_SCOPES)}, not of '{kind}'")
        listed = names if isinstance(names, (tuple, list)) else ()
        wrong = [name for name in listed if not (isinstance(name, str) and name.isidentifier()) or name == "use"]
        if not listed or wrong or len({*listed}) < len(listed):
            raise PluginError(f"the scopes of {kind} are a tuple of different Python names, not {names!r}")
    return {kind: tuple(names) for kind, names in found.items()}


def entry_of_scopes(kind: str, names: Sequence[str]) -> Entry:
    """A pseudo-component for a table of scopes: its options are the components."""
    params = tuple(Param(name=name, kind=kind, help=f"The {kind} of that name.") for name in names)
    return Entry(Component(kind, SCOPED, dict, f"a {kind} for each of {', '.join(names)}", params=params))


def with_scopes(kind: str, names: Sequence[str], table: Mapping[str, Any], trainer: str, default: str | None) -> Any:
    """The table of a kind with scopes, all of them filled in.

    Args:
        kind: The kind.
        names: Its scopes.
        table: The run file's table.
        trainer: The trainer's name, for messages.
        default: The component of a scope that the run file does not name; None if each must be named.

    Raises:
        UsageError: For a component without a scope, an unknown scope, or a scope without a component.
    """
    ways = ", ".join(f"--{kind}.{name} NAME" for name in names)
    if table.get("use", SCOPED) != SCOPED:
        raise UsageError(f"trainer '{trainer}' has several {kind}s, so '{table['use']}' is ambiguous\n  write: {ways}")
    if other := [name for name in table if name not in ("use", *names)]:
        raise UsageError(
            f"trainer '{trainer}' has several {kind}s, and '{other[0]}' is not one of them\n  write: {ways}\n"
            f"  an option of one of them: --{kind}.{names[0]}.{other[0]} VALUE"
        )
    missing = [name for name in names if name not in table]
    if missing and default is None:
        raise UsageError(f"trainer '{trainer}' needs a {kind} for {' and '.join(missing)}\n  write: {ways}")
    found = {name: _filled(table.get(name, {}), default) for name in names}
    if nameless := [name for name, one in found.items() if "use" not in one]:
        raise UsageError(f"{kind}.{nameless[0]}: its options are given, but no {kind} is named\n  write: {ways}")
    return {"use": SCOPED, **found}


def _filled(table: Any, default: str | None) -> dict[str, Any]:
    own = dict(table) if isinstance(table, Mapping) else {"use": table}
    return own if "use" in own or default is None else {"use": default, **own}
