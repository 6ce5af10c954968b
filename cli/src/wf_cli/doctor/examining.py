"""Checks of an installation: the plugins, their names, and the settings about them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wf.declarations.component import Catalogue, Component
from wf.declarations.task import Link, Task
from wf.discovery.distributions import builtin_distributions
from wf.discovery.known import how_to_install
from wf.discovery.modules import missing_package, normalize
from wf.discovery.plugins import Plugin
from wf.discovery.settings import AllowList, Pin, Settings
from wf.discovery.source import target_problems
from wf.errors import UsageError, closest
from wf.registry import Registry, brought_by, plain_name
from wf_cli.doctor.surroundings import Finding, in_a_process
from wf_fitting.tasks import tasks_of

CHECKS: dict[str, str] = {
    "python": "the interpreter and the platform",
    "wf": "the version of wf-core, in its code and in its metadata",
    "torch": "torch can be imported and its version is supported",
    "accelerator": "each accelerator that torch sees can compute",
    "settings": "the settings files that were read, and WF_DISABLE_PLUGIN_AUTOLOAD",
    "plugin": "each plugin is loaded: its hooks are known, its components valid, and it supports this wf-core",
    "light-import": "declaring its components is fast and imports nothing heavy",
    "process": "importing a plugin changes nothing in the process, such as the working directory",
    "hook-mark": "no function is named like a hook but lacks @hookimpl",
    "target": "no target is missing, as far as its module's source shows",
    "form": "each form of targets and predictions in traits is declared by a task or a link",
    "command": "each command can be imported",
    "shared-name": "names and aliases that several plugins use",
    "pin": "each pin refers to a plugin that has the name",
    "allow-list": "no allow-list is empty, and each name in it is an installed plugin",
    "data-folder": "the folder of downloaded datasets, and its contents",
    "runs-folder": "run directories can be written below the working directory",
}
"""The checks, by stable id."""
SLOW_MS = 250.0
"""Slower declarations get a note, because every command waits for them."""
AGAIN = """
import json, sys
from wf.registry import Registry, brought_by
names, only_builtin = json.loads(sys.argv[1])
found = Registry.discover(names, only_builtin=only_builtin).plugins
print(json.dumps({plugin.name: [plugin.pulled_in, plugin.import_ms] for plugin in found if plugin.status == "ok"}))
"""
"""Loads plugins in a process that has not imported anything heavy."""

Cost = tuple[Sequence[str], float]
"""The heavy modules that a declaration imports, and its milliseconds."""


def examine(
    registry: Registry, settings: Settings, names: Iterable[str] = (), *, only_builtin: bool = False
) -> list[Finding]:
    """Check the plugins of a registry, and the settings that it was created with.

    Args:
        registry: From `Registry.discover`.
        settings: From `wf.discovery.settings.load`.
        names: The plugins given by ``-p``.
        only_builtin: Whether only the plugins that come with wf were loaded.
    """
    loaded = [plugin for plugin in registry.plugins if plugin.status == "ok"]
    costs = declaration_costs(registry.plugins, names, only_builtin=only_builtin)
    return [
        *_or_ok("settings", "none", "no settings were found", settings_read(settings)),
        *map(_plugin, registry.plugins),
        *_or_ok("light-import", "all", "no declaration imports anything heavy", light_imports(*costs)),
        *_or_ok("process", "all", "importing the plugins changed nothing in the process", changes(registry.plugins)),
        *_or_ok("hook-mark", "all", "every function named like a hook is marked", hook_marks(loaded)),
        *_or_ok("target", "all", "no target is missing", targets(loaded)),
        *_or_ok("form", "all", "every form in traits is known", forms(loaded, registry)),
        *_or_ok("shared-name", "none", "no name is used by two plugins", shared_names(registry)),
        *_or_ok("pin", "none", "there are no pins", [_pin(pin, registry) for pin in settings.pins]),
        *(
            []
            if only_builtin
            else _or_ok("allow-list", "none", "there are no allow-lists", allowed(settings, registry))
        ),
    ]


def unreadable_settings(error: Exception) -> Finding:
    """The finding for unreadable settings. They may exclude plugins, so no plugin may be imported."""
    message = f"{' '.join(str(error).split())}; no plugin was checked"
    return Finding(level="problem", check="settings", subject="settings", message=message, fix="fix that file")


def settings_read(settings: Settings) -> Iterator[Finding]:
    """The settings files that were read, and the variable that disables entry points."""
    for file in settings.files:
        yield Finding(level="ok", check="settings", subject=str(file), message="read")
    for why in settings.missed:
        fix = "use a working directory that exists, and set HOME or XDG_CONFIG_HOME to a folder of yours"
        yield Finding(level="note", check="settings", subject="settings", message=why, fix=fix)
    name = "WF_DISABLE_PLUGIN_AUTOLOAD"
    if os.environ.get(name, "") not in ("", "0"):
        message = "is set: only plugins given by -p are loaded"
        yield Finding(level="note", check="settings", subject=name, message=message, fix=f"unset {name}")


def _plugin(plugin: Plugin) -> Finding:
    version = f"{plugin.version}: " if plugin.version else ""
    if plugin.status in ("failed", "incompatible"):
        message = f"{version}{plugin.status}: {plugin.error}"
        return Finding(level="problem", check="plugin", subject=plugin.name, message=message, fix=plugin.fix)
    if plugin.status == "blocked":
        return Finding(level="ok", check="plugin", subject=plugin.name, message=f"{version}blocked: {plugin.error}")
    number = len(plugin.components)
    message = f"{version}{number} component{'' if number == 1 else 's'}, declared in {plugin.import_ms:g} ms"
    return Finding(level="ok", check="plugin", subject=plugin.name, message=message)


def declaration_costs(
    plugins: Iterable[Plugin], names: Iterable[str] = (), *, only_builtin: bool
) -> tuple[dict[str, Cost], str]:
    """The cost of each loaded plugin's declaration, and the reason if some could not be measured.

    A heavy module is attributed to the plugin that imports it first. So the other plugins are loaded again without that
    plugin, in a separate process, until no plugin imports a heavy module.
    """
    costs: dict[str, Cost] = {p.name: (p.pulled_in, p.import_ms) for p in plugins if p.status == "ok"}
    heavy = {name for name, (modules, _) in costs.items() if modules}
    new = set(heavy)
    while new:
        arguments = json.dumps([[*names, *(f"no:{name}" for name in sorted(heavy))], only_builtin])
        again, why = in_a_process(AGAIN, arguments)
        if again is None:
            return costs, why
        costs |= again
        new = {name for name, (modules, _) in again.items() if modules} - heavy
        heavy |= new
    return costs, ""


def light_imports(costs: Mapping[str, Cost], why: str = "") -> Iterator[Finding]:
    """Slow or heavy declarations, which delay every command."""
    for name, (modules, milliseconds) in costs.items():
        if modules or milliseconds > SLOW_MS:
            imports = f" and imports {', '.join(modules)}" if modules else ""
            message = f"declaring its components takes {milliseconds:.0f} ms{imports}; every command waits for it"
            fix = "its author can write targets as strings, 'package.module:Attr', and move heavy imports there"
            yield Finding(level="note", check="light-import", subject=name, message=message, fix=fix)
    if why:
        message = f"cannot check whether other plugins import the same modules: {why}"
        yield Finding(level="note", check="light-import", subject="all", message=message)


def changes(plugins: Iterable[Plugin]) -> Iterator[Finding]:
    """Changes that plugins made to the process while they were imported."""
    for plugin in plugins:
        if plugin.changed:
            message = f"importing it changes {', '.join(plugin.changed)}; restored unless noted"
            fix = "its author can move this into a component's factory; to disable the plugin: -p no:" + plugin.name
            yield Finding(level="note", check="process", subject=plugin.name, message=message, fix=fix)


def hook_marks(plugins: Iterable[Plugin]) -> Iterator[Finding]:
    """Functions that are named like hooks but never called."""
    for plugin in plugins:
        for function in plugin.unmarked:
            message = f"{function}() is named like a hook but not marked, so it is never called"
            fix = "mark it with @hookimpl, or rename it"
            yield Finding(level="problem", check="hook-mark", subject=plugin.name, message=message, fix=fix)


def targets(plugins: Iterable[Plugin]) -> Iterator[Finding]:
    """Missing targets. Targets inside a plugin's own package are checked when the plugin is loaded."""
    for plugin in plugins:
        named = [part.target for part in plugin.components if isinstance(part.target, str)]
        for target, problem in target_problems(named):
            owners = ", ".join(_title(part) for part in plugin.components if part.target == target)
            message = f"target '{target}' of {owners} does not exist: {problem}"
            absent = missing_package(ModuleNotFoundError(name=target.partition(".")[0].partition(":")[0]))
            name = plugin.distribution
            owner = f"{how_to_install(name, '--upgrade')}, or tell its author" if name else f"fix {plugin.module}"
            fix = f"pip install {absent}" if absent else owner
            yield Finding(level="problem", check="target", subject=plugin.name, message=message, fix=fix)


def forms(plugins: Iterable[Plugin], registry: Registry) -> Iterator[Finding]:
    """Forms of targets and predictions in traits that neither a task nor a link declares."""
    for plugin in plugins:
        for part in plugin.components:
            several = part.groups.values() if isinstance(part, Catalogue) else ()
            said = [traits for traits in (part.traits, *several) if not isinstance(traits, (Task, Link))]
            try:
                rows = [row for traits in said for row in tasks_of(registry).unknown_forms(traits)]
            except UsageError:  # two links with one name: another check reports it
                return
            for of, form, known in {row[:2]: row for row in rows}.values():
                message = f"{_title(part)}: no installed task or link has {of} '{form}'"
                near = closest(form, known)
                fix = f"write {' or '.join(map(repr, near))}" if near else f"known: {', '.join(known)}"
                fix += "; or install the package that declares it"
                yield Finding(level="note", check="form", subject=plugin.name, message=message, fix=fix)


def shared_names(registry: Registry) -> Iterator[Finding]:
    """Names that several plugins use, and the pins that choose one of them."""
    for kind, name in registry.shared_names():
        entries, pin = registry.providers(kind, name), registry.pins.get((kind, plain_name(name)))
        owners = [entry.distribution for entry in entries] or _owners(registry, kind, name.removesuffix("/*"))
        subject, comes = f"{kind} {name}", f"comes from {' and '.join(owners)}"
        if pin and brought_by(entries, pin.provider):
            message = f"{comes}; {pin.place} decides: {pin.provider}"
            yield Finding(level="ok", check="shared-name", subject=subject, message=message)
            continue
        fix = f"write {name.replace('*', 'NAME')}@{owners[0]}"
        fix += f', or pin it: [tool.wf.pin.{kind}] {name} = "{owners[0]}"' if entries else ""
        message = f"{comes}; the bare name is an error"
        yield Finding(level="note", check="shared-name", subject=subject, message=message, fix=fix)


def _owners(registry: Registry, kind: str, prefix: str) -> list[str]:
    """The providers of a catalogue."""
    pairs = registry.catalogues(kind)
    return [plugin.distribution or plugin.name for found, plugin in pairs if plain_name(found.prefix) == prefix]


def _pin(pin: Pin, registry: Registry) -> Finding:
    subject, place = f"{pin.kind} {pin.name}", f"in {pin.place}"
    chosen = registry.pins[pin.kind, plain_name(pin.name)]
    entries = registry.providers(pin.kind, pin.name)
    if chosen != pin:
        message = f"{place}: {pin.provider}, overridden by {chosen.place}"
        return Finding(level="ok", check="pin", subject=subject, message=message)
    if brought_by(entries, pin.provider):
        return Finding(level="ok", check="pin", subject=subject, message=f"{place}: {pin.provider}")
    state = next((plugin.status for plugin in registry.plugins if _is(plugin, pin.provider)), "not installed")
    reason = {"ok": "does not have it", "not installed": "is not installed"}.get(state, f"is not loaded ({state})")
    message = f"{place}: pinned to {pin.provider}, which {reason}"
    if not entries:
        return Finding(level="note", check="pin", subject=subject, message=f"{message}; no other plugin has it")
    owners = " or ".join(entry.distribution for entry in entries)
    fix = f"pin it to {owners}, or remove the pin"
    return Finding(level="problem", check="pin", subject=subject, message=f"{message}; using it is an error", fix=fix)


def allowed(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """The entries of allow-lists, and whether each is the name of an installed plugin."""
    builtin = builtin_distributions()
    names = [plugin.distribution for plugin in registry.plugins if plugin.distribution]
    for allow in settings.allow:
        if not allow.names:
            message = f"in {allow.place}: empty, so no installed plugin may load"
            fix = "name the plugins that may load, as builtin, or remove the list"
            yield Finding(level="problem", check="allow-list", subject="empty", message=message, fix=fix)
        for word in allow.names:
            one = AllowList((word,), allow.place)
            found = sorted({name for name in names if one.allows(name, builtin=normalize(name) in builtin)})
            if found:
                message = f"in {allow.place}: allows {', '.join(found)}"
                yield Finding(level="ok", check="allow-list", subject=word, message=message)
            else:
                message = f"in {allow.place}: no installed plugin has that name"
                yield Finding(level="note", check="allow-list", subject=word, message=message, fix="check the spelling")


def _or_ok(check: str, subject: str, message: str, findings: Iterable[Finding]) -> list[Finding]:
    """The findings, or a single ok if there are none."""
    return list(findings) or [Finding(level="ok", check=check, subject=subject, message=message)]


def _is(plugin: Plugin, name: str) -> bool:
    return normalize(name) in (normalize(plugin.name), normalize(plugin.distribution or ""))


def _title(part: object) -> str:
    return f"{part.kind} {part.name}" if isinstance(part, Component) else f"{part.kind} {part.prefix}/*"  # type: ignore[attr-defined]  # a Catalogue
