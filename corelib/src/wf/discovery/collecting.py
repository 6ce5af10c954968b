"""Collecting what a plugin declares: its hooks are called once, and each declaration is checked and remembered."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import pluggy

from wf import hookspecs
from wf.declarations.component import REQUIRED, Catalogue, Component, Param, is_provided, of_declaration
from wf.declarations.conditions import CONDITIONS
from wf.declarations.declared import DECLARATIONS
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS, Kind
from wf.declarations.rule import Rule
from wf.declarations.values import VALUES, RunValue
from wf.discovery import source
from wf.discovery.modules import FILE_PREFIX
from wf.errors import PluginError, closest, unknown
from wf.parameters import type_name

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(f"{hookspecs.PROJECT}_"))
"""The hooks that a plugin may implement."""


def collected(manager: pluggy.PluginManager, module: Any, name: str) -> tuple[Component | Catalogue, ...]:
    """Register a plugin and collect its declarations."""
    if inspect.isclass(module):
        raise PluginError(f"{module.__name__} is a class; point the entry point at an instance of it")
    if manager.is_registered(module):
        raise PluginError(f"'{name}' is loaded already, as plugin '{manager.get_name(module)}'")
    marked = [hook for hook in HOOKS if hasattr(getattr(module, hook, None), "wf_impl")]
    if taking := [hook for hook in marked if inspect.signature(getattr(module, hook)).parameters]:
        raise PluginError(f"{taking[0]}{inspect.signature(getattr(module, taking[0]))} takes arguments; wf gives none")
    manager.register(module, name)
    _check_hooks(manager, module)
    kinds = _asked(manager, module, "wf_kinds", (Kind,))
    KINDS.add(kinds, name)
    settings = _asked(manager, module, "wf_settings", (Param,))
    _check_settings(settings)
    GENERAL.add(settings, name)
    VALUES.add([*RunValue.of_kinds(kinds), *(_value_of(one) for one in settings if one.is_value)], name)
    components = _asked(manager, module, "wf_components", (Component, Catalogue))
    for component in components:
        if component.kind in DECLARATIONS:
            raise PluginError(
                f"{component.kind} '{component.name}' is given by wf_{component.kind}s(), not wf_components()"
            )
        if isinstance(component, Catalogue):
            component.names()  # an unreadable index must fail here, not later in somebody's listing
    declared = {
        kind: _asked(manager, module, f"{hookspecs.PROJECT}_{kind}s", (cls,)) for kind, cls in DECLARATIONS.items()
    }
    components += [of_declaration(one) for words in declared.values() for one in words if is_provided(one)]
    VALUES.add([value for value in declared["value"] if value.name not in VALUES], name)
    CONDITIONS.add(declared["condition"], name)
    _check_unique(components)
    used = (one for one in components if one.kind != "command")  # a broken command harms no other component
    source.check_targets(used, str(getattr(module, "__name__", "")))
    return tuple(components)


def _check_settings(settings: Sequence[Param]) -> None:
    """Refuse a setting that no run file could hold, or that every run would have to set."""
    for param in settings:
        if "." in param.name:
            kind, _, option = param.name.partition(".")
            raise PluginError(
                f"setting '{param.name}': the components of a kind declare its options; declare '{option}' in a "
                f"component of kind '{kind}', or give the setting a name without dots"
            )
        if not param.name.isidentifier():
            raise PluginError(f"setting '{param.name}': its name is not a Python identifier")
        if param.default is REQUIRED or param.kind is not None or param.source is not None:
            raise PluginError(f"setting '{param.name}': it needs a default, and must have neither kind nor source")


def _value_of(setting: Param) -> RunValue:
    """The run value that belongs to a setting."""
    return RunValue(name=setting.name, type=type_name(setting.type), summary=setting.help)


def _check_hooks(manager: pluggy.PluginManager, module: Any) -> None:
    callers = manager.get_hookcallers(module) or []
    wrong = [caller.name for caller in callers if not caller.has_spec()]
    if wrong:
        raise PluginError(unknown("hook", wrong[0], HOOKS).replace("\n ", ";"))
    if not callers:
        title = getattr(module, "__name__", module)
        title = getattr(module, "__file__", title) if str(title).startswith(FILE_PREFIX) else title
        raise PluginError(f"{title!r} is no plugin: no function is marked with @hookimpl{_hint(module)}")


def _hint(module: Any) -> str:
    """A hint for a missing mark: it may be on a similar name, or inside a class."""
    if near := unmarked_hooks(module):
        return f"; {near[0]} is there, without the mark"
    classes = [(name, value) for name, value in getattr(module, "__dict__", {}).items() if inspect.isclass(value)]
    marked = [name for name, value in classes if any(hasattr(part, "wf_impl") for part in vars(value).values())]
    return f"; class {marked[0]} has one: point the entry point at an instance of it" if marked else ""


def unmarked_hooks(module: Any) -> list[str]:
    """The functions of a plugin that are named like a hook, or nearly so, and are not marked with ``@hookimpl``."""
    functions = [
        name
        for name, value in getattr(module, "__dict__", {}).items()
        if callable(value) and not hasattr(value, "wf_impl")
    ]
    return [name for name in functions if name.startswith(f"{hookspecs.PROJECT}_") and closest(name, HOOKS)]


def _asked(manager: pluggy.PluginManager, module: Any, hook: str, wanted: tuple[type, ...]) -> list[Any]:
    """The result of a plugin's hook."""
    found: list[Any] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin is module:
            found += _checked(implementation.function(), hook, wanted)
    return found


def _checked(declared: Any, hook: str, wanted: tuple[type, ...]) -> Sequence[Any]:
    if inspect.iscoroutine(declared):
        declared.close()  # nobody will await it
    if not isinstance(declared, (list, tuple)):
        raise PluginError(f"{hook}() gave {type(declared).__name__}, not a list of {hook.removeprefix('wf_')}")
    for one in declared:
        if not isinstance(one, wanted):
            names = " nor a ".join(cls.__name__ for cls in wanted)
            raise PluginError(f"{hook}() gave {one!r}, which is {'neither' if len(wanted) > 1 else 'not'} a {names}")
    return declared


def _check_unique(components: Iterable[Component | Catalogue]) -> None:
    seen: set[tuple[str, str]] = set()
    for component in components:
        names = (component.prefix,) if isinstance(component, Catalogue) else component.all_names
        for name in names:
            plain = name.lower().replace("_", "-")
            if (component.kind, plain) in seen:
                raise PluginError(f"it declares {component.kind} '{name}' twice")
            seen.add((component.kind, plain))


def check_rule(rule: Rule) -> None:
    """Refuse a rule about a kind that no plugin declares: it would never be asked."""
    for kind in (rule.kind, *rule.against, *rule.suggested):
        if kind not in KINDS and kind not in DECLARATIONS:
            raise PluginError(unknown("kind", kind, [*KINDS, *DECLARATIONS], of=f"rule '{rule.name}'"))
