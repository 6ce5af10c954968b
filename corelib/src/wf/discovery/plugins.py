"""Finding and loading plugins. Each one is loaded guarded: a broken plugin is listed as failed and harms no other.

A plugin has the name of its distribution; further entry points of the same distribution are ``name[key]``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pluggy

from wf import hookspecs
from wf.declarations.component import (
    Catalogue,
    Component,
    check_kind,
)
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.declarations.rule import Rule
from wf.declarations.vocabulary import forget
from wf.discovery import source
from wf.discovery.collecting import check_rule, collected, unmarked_hooks
from wf.discovery.distributions import (
    DamagedMetadataError,
    Distribution,
    Unreadable,
    builtin_distributions,
    builtin_names,
    core_version,
    plugin_entry_points,
    unsupported_core,
)
from wf.discovery.guard import Guard, UntrustedError
from wf.discovery.importing import Watched, rare_collection, told_when_slow
from wf.discovery.installed import EntryPoint
from wf.discovery.known import how_to_install, who_declares
from wf.discovery.modules import (
    describe,
    import_module,
    is_path,
    is_there,
    missing_module,
    missing_package,
    normalize,
    where_looked,
)
from wf.discovery.settings import AllowList
from wf.errors import PluginError, UsageError, closest, unknown
from wf.parameters import check_run_values

_LOG = logging.getLogger("wf")

HEAVY = ("torch", "torchvision", "numpy", "sklearn", "matplotlib", "pandas", "scipy")
"""Modules that take long to import and that no declaration needs."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One plugin: its origin, whether it loaded, and its declarations."""

    name: str
    distribution: str | None
    version: str | None
    module: str
    entry_point: str | None = None
    """As its distribution states it: ``main = wf_losses.plugin``."""
    status: Literal["ok", "failed", "blocked", "incompatible"]
    error: str | None = None
    """Why it is not loaded, in one line."""
    fix: str | None = None
    """The likely remedy, in one line."""
    details: str | None = None
    """The whole traceback."""
    import_ms: float = 0.0
    pulled_in: tuple[str, ...] = ()
    """The heavy modules that its declaration imported first."""
    changed: tuple[str, ...] = ()
    """Descriptions of the changes that its import made to the process; they were undone unless the text says
    otherwise."""
    unmarked: tuple[str, ...] = ()
    """Its functions that are named like a hook, or nearly so, and are not marked with ``@hookimpl``."""
    components: tuple[Component | Catalogue, ...] = ()
    promised: tuple[tuple[str, str], ...] = ()
    """Kind and name of the components of a plugin that is not loaded, as far as its source shows them."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which plugins are to be loaded."""

    extra: tuple[str, ...] = ()
    """Modules or files named with ``-p``."""
    of_run: tuple[str, ...] = ()
    """Modules or files that a run file names."""
    blocked: frozenset[str] = frozenset()
    """Plugins named with ``-p no:NAME``: listed, never imported."""
    only_builtin: bool = False
    autoload: bool = True
    """Whether entry points are followed at all (`WF_DISABLE_PLUGIN_AUTOLOAD`)."""
    allow: tuple[AllowList, ...] = ()
    """An installed plugin is imported only if every one of these lists names it; without lists all are."""

    @classmethod
    def parse(
        cls,
        names: Iterable[str],
        *,
        only_builtin: bool = False,
        allow: Iterable[AllowList] = (),
        of_run: Iterable[str] = (),
    ) -> Selection:
        """Sort the values of ``-p`` and the plugins of a run file into plugins to load and plugins to leave out."""
        names, of_run = list(names), list(of_run)
        return cls(
            extra=tuple(name for name in names if not name.startswith("no:")),
            of_run=tuple(name for name in of_run if not name.startswith("no:") and name not in names),
            blocked=frozenset(normalize(name[3:]) for name in (*names, *of_run) if name.startswith("no:")),
            only_builtin=only_builtin,
            autoload=os.environ.get("WF_DISABLE_PLUGIN_AUTOLOAD", "") in ("", "0"),
            allow=tuple(allow),
        )

    def objection(self, found: _Found, builtin: frozenset[str]) -> str | None:
        """Why a plugin is not to be imported, in words; None if it may be."""
        if any(_is(found, name) for name in self.blocked):
            return f"left out by -p no:{found.name}"
        if found.asked_for:
            return None
        owner = found.distribution or found.owner
        name = normalize(owner.name) if owner else ""
        how = "" if found.distribution else f"the run file names it; to load it: -p {found.module}; it is "
        if self.only_builtin and name not in builtin:
            return f"{how}left out by --only-builtin"
        lists = [one.title for one in self.allow if not (name and one.allows(name, builtin=name in builtin))]
        return f"{how}not in the allow-list of {' and '.join(lists)}" if lists else None


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A plugin that may be loaded."""

    name: str
    module: str
    loader: Any
    entry_point: str | None = None
    distribution: Distribution | None = None
    owner: Distribution | None = None
    """For a module that a run file names: the distribution of the installed plugin in whose package it is."""
    asked_for: bool = False
    """Named with ``-p`` on this very line."""
    of_run: bool = False
    """Named by a run file alone."""

    def record(self, status: Literal["ok", "failed", "blocked", "incompatible"], **fields: Any) -> Plugin:
        """The plugin with its status."""
        return Plugin(
            name=self.name,
            distribution=self.distribution.name if self.distribution else None,
            version=self.distribution.version if self.distribution else None,
            module=self.module,
            entry_point=self.entry_point,
            status=status,
            promised=() if status == "ok" else source.declared_names(self.module),
            **fields,
        )


def discover(
    selection: Selection = Selection(),
    ask: Callable[[Sequence[Plugin]], Guard] | None = None,
    loaded: Iterable[Plugin] = (),
    *,
    incomplete: bool = False,
) -> list[Plugin]:
    """Find and load the selected plugins; those that a run file names come last.

    Args:
        selection: Which.
        ask: Called with the other plugins; decides which plugins of the run file may be loaded. None allows all.
        loaded: The result of the same selection without a run file's plugins; these are not loaded again.
        incomplete: Whether a run file's plugins may follow, so that ``-p no:NAME`` may name one of these.

    Returns:
        One record per plugin, by name, including those that failed, are blocked or do not support this wf.

    Raises:
        UsageError: When ``-p no:NAME`` names no plugin, ``-p`` or a run file names no module or file, or `ask` refuses.
    """
    manager = _Manager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    builtin = builtin_distributions() if selection.only_builtin or selection.allow else frozenset()
    everything = _installed() if selection.autoload or selection.of_run else []
    kept = [one for one in everything if selection.autoload and not (selection.only_builtin and _is_not(one, builtin))]
    of_run = [_of_run(name, everything) for name in selection.of_run]
    found = _with_own_names([*kept, *map(_named, selection.extra), *of_run])
    if not incomplete:
        _check_blocked(selection, found)
    plugins: list[Plugin] = []
    version, guard = core_version(), None
    objections = {plugin.name: selection.objection(plugin, builtin) for plugin in found}
    # failed plugins are tried again: the new ones may bring their missing modules
    before = {plugin.name: plugin for plugin in loaded if plugin.status != "failed"}
    with told_when_slow(_LOG.warning) as begin, rare_collection():
        process = Watched(declaring=True)
        for plugin in sorted(found, key=lambda one: one.of_run and not objections[one.name]):
            objection = objections[plugin.name]
            if plugin.of_run and not objection and guard is None and ask is not None:
                guard = ask(plugins)
            begin(plugin.name)
            if plugin.name in before and not plugin.of_run:
                plugins.append(before[plugin.name])
            elif objection:
                plugins.append(plugin.record("blocked", error=objection))
            else:
                record = _load(manager, _allowed(plugin, guard) if plugin.of_run else plugin, version, process)
                plugins.append(record)
                if record.status == "failed" or record.changed or record.pulled_in:
                    process = Watched(declaring=True)
    return sorted((_of_known_kinds(one, plugins) for one in plugins), key=lambda plugin: plugin.name)


def _of_known_kinds(plugin: Plugin, plugins: Iterable[Plugin]) -> Plugin:
    """The plugin; failed if it has a component of an undeclared kind, or one that asks for an undeclared run value.

    By now all plugins are loaded, whichever of them declares the kind.
    """
    fix = ""
    try:
        for component in plugin.components:
            kind = component.kind
            if kind not in KINDS and kind not in DECLARATIONS and (owner := who_declares(kind)):
                there = next((one for one in plugins if one.distribution == owner.distribution), None)
                why = f"it is {there.error}" if there and there.status == "blocked" else "wf doctor says what is wrong"
                fix = f"load {owner.distribution}, too; {why}" if there else owner.install
                raise PluginError(f"kind '{kind}' is declared by {owner.distribution}, which is not loaded")
            if isinstance(component.traits, Rule):
                check_rule(component.traits)
            if component.kind not in DECLARATIONS:
                check_kind(component)
                check_run_values(component, component.params or ())
    except (PluginError, ValueError) as error:
        forget(plugin.name)
        why, details = describe(error), traceback.format_exc()
        promised = source.declared_names(plugin.module)
        fix = fix or _ask_author(plugin.distribution)
        return replace(plugin, status="failed", error=why, fix=fix, details=details, components=(), promised=promised)
    return plugin


def _ask_author(distribution: str | None) -> str:
    """The advice for a plugin whose declarations are wrong."""
    return f"{how_to_install(distribution, '--upgrade')}, or tell its author" if distribution else "fix it"


class _Manager(pluggy.PluginManager):
    """pluggy's manager, five times quicker with a module: only its functions are looked at for the mark."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """As pluggy's."""
        if inspect.ismodule(plugin) and not inspect.isroutine(vars(plugin).get(name)):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def _check_blocked(selection: Selection, found: Sequence[_Found]) -> None:
    """Refuse a ``-p no:NAME`` that names no plugin, if all plugins are known."""
    wrong = sorted(name for name in selection.blocked if not any(_is(plugin, name) for plugin in found))
    if wrong and selection.autoload and not selection.only_builtin:
        raise UsageError(unknown("plugin in -p no:", wrong[0], [plugin.name for plugin in found]))


def _is_not(found: _Found, names: frozenset[str]) -> bool:
    return found.distribution is None or normalize(found.distribution.name) not in names


def _installed() -> list[_Found]:
    """The plugins of the installed distributions; wf's own come first, so that no other takes their names."""
    found: list[_Found] = []
    names: set[str] = set()
    ours = builtin_names()
    in_order = sorted(
        plugin_entry_points(), key=lambda pair: (normalize(pair[1].name) not in ours, normalize(pair[1].name))
    )
    for entry, distribution in in_order:
        name = normalize(distribution.name)
        if name in names:
            name = f"{name}[{entry.name}]"
        names.add(name)
        text = f"{entry.name} = {entry.value}"
        loader = partial(_follow, entry)
        found.append(_Found(name=name, module=entry.value, entry_point=text, distribution=distribution, loader=loader))
    return found


def _follow(entry: EntryPoint | Unreadable) -> Any:
    """The object that an entry point names."""
    if isinstance(entry, EntryPoint) and entry.target() is None:
        raise PluginError(f"its entry point '{entry.name} = {entry.value}' is not of the form module or module:attr")
    return entry.load()


def _named(name: str, guard: Guard | None = None) -> _Found:
    """A plugin named with ``-p``, or by a run file."""
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            near = closest(path.name, [file.name for file in path.parent.glob("*.py")])
            hint = f"\n  did you mean {' or '.join(str(path.with_name(word)) for word in near)}?" if near else ""
            raise UsageError(f"-p {name}: there is no such file{hint}")
        return _Found(name=path.stem, module=str(path), loader=lambda: import_module(name, guard), asked_for=True)
    if not is_there(name):
        raise UsageError(
            f"-p {name}: there is no such module\n  give a module's dotted name or a file's path (./{name}.py)"
        )
    return _Found(name=name, module=name, loader=lambda: importlib.import_module(name), asked_for=True)


def _of_run(name: str, installed: Sequence[_Found]) -> _Found:
    """A plugin named in a run file, not loaded yet."""
    package = "" if is_path(name) else name.partition(".")[0]
    owners = [one.distribution for one in installed if re.split(r"[.:]", one.module)[0] == package]
    title = Path(name).stem if is_path(name) else name
    return _Found(name=title, module=name, owner=next(iter(owners), None), loader=None, of_run=True)


def _allowed(found: _Found, guard: Guard | None) -> _Found:
    """A plugin that a run file names, ready to be loaded."""
    if guard is not None and not is_path(found.module):
        guard.check_target(found.module)
    return replace(found, loader=_named(found.module, guard).loader)


def _with_own_names(found: Sequence[_Found]) -> list[_Found]:
    """The plugins, each once: ``-p`` may name an installed one. A file with the name of another plugin gets its path
    added."""
    kept: list[_Found] = []
    places: dict[str, int] = {}
    names: set[str] = set()
    for plugin in found:
        place = str(Path(plugin.module).resolve()) if is_path(plugin.module) else plugin.module
        if plugin.entry_point is None and place in places:
            if plugin.asked_for:
                kept[places[place]] = replace(kept[places[place]], asked_for=True)
            continue
        places.setdefault(place, len(kept))
        kept.append(replace(plugin, name=f"{plugin.name}[{plugin.module}]") if plugin.name in names else plugin)
        names.add(kept[-1].name)
    return kept


def _is(plugin: _Found, name: str) -> bool:
    owner = plugin.distribution or plugin.owner
    return name in (normalize(plugin.name), normalize(owner.name if owner else ""))


def _load(manager: pluggy.PluginManager, found: _Found, version: str | None, process: Watched) -> Plugin:
    """Import a plugin and collect its declarations; whatever goes wrong makes it a failed plugin.

    Args:
        manager: Calls its hooks.
        found: The plugin.
        version: The installed version of wf-core.
        process: The process before the import.
    """
    distribution = found.distribution
    if distribution and (supported := unsupported_core(distribution.requires, version)) is not None:
        return found.record(
            "incompatible",
            error=f"it supports wf-core {supported}, and {version} is installed",
            fix=f"{how_to_install(distribution.name, '--upgrade')}, or install a wf-core that it supports",
        )
    started, before = time.perf_counter(), [name for name in HEAVY if name in sys.modules]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            module = found.loader()
            components = collected(manager, module, found.name)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"while plugin '{found.name}' was loaded")
        raise
    except UntrustedError:
        raise
    except BaseException as error:  # whatever a plugin does, it must not end wf
        forget(found.name)
        why, fix, details = describe(error), _fix(found, error), traceback.format_exc()
        return found.record("failed", error=why, fix=fix, details=details, changed=process.settle(heavy=True))
    milliseconds = round(1000 * (time.perf_counter() - started), 1)
    pulled_in = tuple(name for name in HEAVY if name in sys.modules and name not in before)
    return found.record(
        "ok",
        components=components,
        import_ms=milliseconds,
        pulled_in=pulled_in,
        changed=process.settle(heavy=bool(pulled_in)),
        unmarked=tuple(unmarked_hooks(module)),
    )


def _fix(found: _Found, error: BaseException) -> str:
    """The likely remedy for a plugin that failed."""
    distribution, module = found.distribution, missing_module(error)
    if distribution is None and module:
        package = missing_package(error)
        return f"pip install {package}" if package else where_looked(error, found.module)
    if distribution is None:
        return f"mend {found.module}; its traceback: wf list-plugins -p {found.module} --traceback"
    is_gone = module == re.split(r"[.:]", found.module)[0]  # its own package
    if is_gone or isinstance(error, DamagedMetadataError):
        return how_to_install(distribution.name, "--force-reinstall")
    if package := missing_package(error, distribution.required_names, distribution.missing_names()):
        return f"pip install {package}"
    if module:
        return f"tell its author: {distribution.name} does not require the package that has {module}"
    return f"{how_to_install(distribution.name, '--upgrade')}, or tell its author"
