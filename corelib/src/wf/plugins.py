"""Finding and loading plugins. Each one is loaded guarded: a broken plugin is listed as failed and harms no other.

A plugin is known by its distribution's name; one entry point more in the same distribution by ``name[key]``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from wf import hookspecs
from wf.component import Catalogue, Component
from wf.errors import PluginError, UsageError, closest, unknown

GROUP = "wf.plugins"
BUILTIN_EXTRA = "builtin"
"""The extra of wf-core that names the distributions that come with it; `--only-builtin` loads just these."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One plugin: where it came from, whether it loaded, and what it brought."""

    name: str
    distribution: str | None
    version: str | None
    module: str
    status: Literal["ok", "failed", "blocked"]
    error: str | None = None
    """What went wrong, in one line, with the likely fix."""
    details: str | None = None
    """The whole traceback."""
    import_ms: float = 0.0
    components: tuple[Component | Catalogue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which plugins are to be loaded."""

    extra: tuple[str, ...] = ()
    """Modules or files named with ``-p``."""
    blocked: frozenset[str] = frozenset()
    """Plugins named with ``-p no:NAME``: listed, never imported."""
    only_builtin: bool = False
    autoload: bool = True
    """Whether entry points are followed at all (`WF_DISABLE_PLUGIN_AUTOLOAD`)."""

    @classmethod
    def parse(cls, names: Iterable[str], *, only_builtin: bool = False) -> Selection:
        """Sort the values of ``-p`` into what is to be loaded and what is not."""
        names = list(names)
        return cls(
            extra=tuple(name for name in names if not name.startswith("no:")),
            blocked=frozenset(normalize(name[3:]) for name in names if name.startswith("no:")),
            only_builtin=only_builtin,
            autoload=os.environ.get("WF_DISABLE_PLUGIN_AUTOLOAD", "") in ("", "0"),
        )


@dataclass
class _Found:
    """A plugin that may be loaded."""

    name: str
    module: str
    distribution: str | None = None
    version: str | None = None
    loader: Any = field(default=None, repr=False)


def discover(selection: Selection = Selection()) -> list[Plugin]:
    """Find and load the selected plugins.

    Returns:
        One record a plugin, by name; failed and blocked ones included.

    Raises:
        UsageError: When ``-p no:NAME`` names no plugin, or ``-p`` names no module or file.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    found = _with_own_names([*(_installed(selection) if selection.autoload else ()), *map(_named, selection.extra)])
    blocked = {name for name in selection.blocked if any(_is(plugin, name) for plugin in found)}
    if selection.blocked - blocked and selection.autoload and not selection.only_builtin:
        word = sorted(selection.blocked - blocked)[0]
        raise UsageError(unknown("plugin in -p no:", word, [plugin.name for plugin in found]))
    plugins = [
        _blocked(plugin) if any(_is(plugin, name) for name in blocked) else _load(manager, plugin) for plugin in found
    ]
    return sorted(plugins, key=lambda plugin: plugin.name)


def normalize(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def builtin_distributions() -> frozenset[str]:
    """The distributions that come with wf-core, as its own metadata says."""
    try:
        requirements = importlib.metadata.requires("wf-core") or []
    except importlib.metadata.PackageNotFoundError:
        return frozenset()
    marker = re.compile(rf"extra\s*==\s*['\"]{BUILTIN_EXTRA}['\"]")
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements if marker.search(text))
    return frozenset(normalize(name[0]) for name in names if name)


def import_module(name: str) -> ModuleType:
    """Import a module by its name or by its file's path.

    Raises:
        UsageError: When there is no such file.
    """
    if not is_path(name):
        return importlib.import_module(name)
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        near = closest(path.name, [file.name for file in path.parent.glob("*.py")])
        hint = f"\n  in that folder: {', '.join(near)}" if near else ""
        raise UsageError(f"there is no file '{name}'{hint}")
    module_name = f"wf_file_{re.sub(r'[^0-9A-Za-z]', '_', str(path))}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def is_path(name: str) -> bool:
    """Whether `name` says a Python file rather than a module."""
    return name.endswith(".py") or "/" in name or os.sep in name


def explain(error: BaseException) -> str:
    """An import's failure in one line, with the likely fix."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package and _is_missing(package):
        return f"{text} (try: pip install {package})"
    return text


def _is_missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return False


def _installed(selection: Selection) -> list[_Found]:
    builtin = builtin_distributions() if selection.only_builtin else frozenset()
    found: list[_Found] = []
    for entry in importlib.metadata.entry_points(group=GROUP):
        distribution = entry.dist.name if entry.dist else None
        if selection.only_builtin and normalize(distribution or "") not in builtin:
            continue
        name = normalize(distribution) if distribution else entry.name
        if any(other.name == name for other in found):
            name = f"{name}[{entry.name}]"
        version = entry.dist.version if entry.dist else None
        found.append(_Found(name, entry.value, distribution, version, entry.load))
    return found


def _named(name: str) -> _Found:
    """A plugin named with ``-p``."""
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            near = closest(path.name, [file.name for file in path.parent.glob("*.py")])
            hint = f"\n  did you mean {' or '.join(str(path.with_name(word)) for word in near)}?" if near else ""
            raise UsageError(f"-p {name}: there is no such file{hint}")
        return _Found(path.stem, str(path), loader=lambda: import_module(name))
    if not _is_there(name):
        raise UsageError(
            f"-p {name}: there is no such module\n  say a module's dotted name or a file's path (./{name}.py)"
        )
    return _Found(name, name, loader=lambda: importlib.import_module(name))


def _is_there(module: str) -> bool:
    """Whether there is a module of that name, or a package of it that cannot be imported, as loading it will tell."""
    try:
        return not module.startswith(".") and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        return error.name is None or not f"{module}.".startswith(f"{error.name}.")
    except ValueError:  # the main program
        return False
    except (Exception, SystemExit):
        return True


def _with_own_names(found: Sequence[_Found]) -> list[_Found]:
    """Each plugin once, under a name of its own: a file that is named like another plugin gets its path beside it."""
    kept: dict[str, _Found] = {}
    names: set[str] = set()
    for plugin in found:
        place = str(Path(plugin.module).resolve()) if is_path(plugin.module) else plugin.module
        if place in kept:
            continue
        kept[place] = replace(plugin, name=f"{plugin.name}[{plugin.module}]") if plugin.name in names else plugin
        names.add(kept[place].name)
    return list(kept.values())


def _is(plugin: _Found, name: str) -> bool:
    return name in (normalize(plugin.name), normalize(plugin.distribution or ""))


def _blocked(found: _Found) -> Plugin:
    return Plugin(
        name=found.name,
        distribution=found.distribution,
        version=found.version,
        module=found.module,
        status="blocked",
        error="blocked by -p no:",
    )


def _load(manager: pluggy.PluginManager, found: _Found) -> Plugin:
    started = time.perf_counter()
    record: dict[str, Any] = {"status": "ok"}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for what was asked for
            module = found.loader()
            record["components"] = _components(manager, module, found.name)
    except (Exception, SystemExit) as error:  # whatever a plugin does, it must not end wf
        record = {"status": "failed", "error": explain(error), "details": traceback.format_exc()}
    return Plugin(
        name=found.name,
        distribution=found.distribution,
        version=found.version,
        module=found.module,
        import_ms=round(1000 * (time.perf_counter() - started), 1),
        **record,
    )


def _components(manager: pluggy.PluginManager, module: Any, name: str) -> tuple[Component | Catalogue, ...]:
    """Register a plugin and ask it for its components."""
    if manager.is_registered(module):
        raise PluginError(f"'{name}' is loaded already")
    manager.register(module, name)
    _check_hooks(manager, module)
    components: list[Component | Catalogue] = []
    for implementation in manager.hook.wf_components.get_hookimpls():
        if implementation.plugin is module:
            components += _checked(implementation.function())
    _check_unique(components)
    return tuple(components)


def _check_hooks(manager: pluggy.PluginManager, module: Any) -> None:
    callers = manager.get_hookcallers(module) or []
    wrong = [caller.name for caller in callers if not caller.has_spec()]
    if wrong:
        raise PluginError(unknown("hook", wrong[0], ["wf_components"]).replace("\n ", ";"))
    if not callers:
        raise PluginError(f"{getattr(module, '__name__', module)!r} is no plugin: no function is marked with @hookimpl")


def _checked(components: Any) -> Sequence[Component | Catalogue]:
    if not isinstance(components, (list, tuple)):
        raise PluginError(f"wf_components() gave {type(components).__name__}, not a list of components")
    for component in components:
        if not isinstance(component, (Component, Catalogue)):
            raise PluginError(f"wf_components() gave {component!r}, which is neither a Component nor a Catalogue")
        if isinstance(component, Catalogue):
            component.names()  # one whose index cannot be read must not fail later, in somebody's listing
    return components


def _check_unique(components: Iterable[Component | Catalogue]) -> None:
    seen: set[tuple[str, str]] = set()
    for component in components:
        names = (component.prefix,) if isinstance(component, Catalogue) else (component.name, *component.aliases)
        for name in names:
            plain = name.lower().replace("_", "-")
            if (component.kind, plain) in seen:
                raise PluginError(f"it declares {component.kind} '{name}' twice")
            seen.add((component.kind, plain))
