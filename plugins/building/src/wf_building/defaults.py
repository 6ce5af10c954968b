"""Default components, as declared by plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from wf.discovery.entry import Entry
from wf.discovery.known import index
from wf.errors import UsageError
from wf.registry import Registry, tell_of_pin
from wf.traits import HookTraits

if TYPE_CHECKING:
    from wf.discovery.settings import Pin

PIN = "defaults"
"""The table of pins that choose between several defaults: ``[tool.wf.pin.defaults] optimizer = "wf-optimizers"``."""
ORDER = HookTraits().order


SEVERAL = "processes"
"""What the default strategy of several processes says to be a default of."""


def default_of(registry: Registry, kind: str, of: Literal[True] | str = True) -> str | None:
    """The name of the default component of a kind with one component per run; None if no plugin declares one.

    Args:
        registry: Where components are looked up.
        kind: The kind.
        of: For models: the inputs of the dataset, for a default that applies to these only. For strategies:
            `SEVERAL`.

    Raises:
        UsageError: If plugins declare several and no pin chooses one.
    """
    claims = [entry for entry in registry.claims.get(kind, ()) if entry.component.default == of]
    if of is True and (pin := registry.pins.get((PIN, kind))):
        return _pinned(registry, pin, claims)
    names = dict.fromkeys(entry.component.name for entry in claims)
    if len(names) == 1:
        return registry.own_choice(kind, *names)
    if not claims:
        return None
    every = " and ".join(f"'{entry.component.name}' of {entry.provider}" for entry in claims)
    raise UsageError(
        f"plugins declare several defaults of kind {kind}: {every}\n  name one: --{kind} NAME, or settle it: "
        f'[tool.wf.pin.defaults] {kind} = "{claims[0].provider}" in pyproject.toml'
    )


def _pinned(registry: Registry, pin: Pin, claims: Sequence[Entry]) -> str:
    """The default chosen by a pin, without a fallback."""
    found = [entry for entry in claims if entry.is_from(pin.provider)]
    if not found:
        every = ", ".join(f"{entry.component.name}@{entry.provider}" for entry in claims)
        raise UsageError(
            f"the default {pin.name} is pinned to {pin.provider}, which declares none\n"
            f"  the pin stands in {pin.place}\n  defaults: {every or 'none'}"
        )
    if pin.of_project:
        tell_of_pin(pin, claims, found)
    return registry.full_name(found[0])


def default_hooks(registry: Registry, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names of the hooks of a run that names none, in their order.

    Args:
        registry: Where components are looked up.
        more: The hooks that the run's task adds.
    """
    names = dict.fromkeys((*(entry.component.name for entry in registry.claims.get("hook", ())), *more))
    return tuple(registry.own_choice("hook", name) for name in sorted(names, key=lambda name: _order(registry, name)))


def missing(registry: Registry, kind: str) -> UsageError:
    """The error for a run that names no component of a required kind, where no plugin declares a default."""
    names, here = registry.names(kind), {plugin.distribution for plugin in registry.plugins}
    known = [one.distribution for one in index() if kind in one.names and one.distribution not in here]
    lines = [
        f"the run names no {kind}, and no plugin here declares a default one" if names else f"no {kind} is installed"
    ]
    lines += (
        [f"name one: --{kind} NAME (available: {', '.join(names)})"] if names else [f"name one: --{kind} path.py:NAME"]
    )
    lines += [f"or install a plugin that has some: {', '.join(known)}"] if known else []
    return UsageError("\n  ".join(lines))


def _order(registry: Registry, hook: str) -> int:
    """The place of a hook among the defaults."""
    orders = [entry.component.traits.order for entry in registry.providers("hook", hook) if _is_ordered(entry)]
    return min(orders, default=ORDER)


def _is_ordered(entry: Entry) -> bool:
    return isinstance(entry.component.traits, HookTraits)
