"""The registry: ``(kind, name) -> Component``, with aliases, suggestions, collisions and provenance."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.component import KINDS, Catalogue, Component, with_target
from wf.errors import PluginError, UsageError, WfError, article, closest, unknown
from wf.plugins import Plugin, Selection, discover, explain, import_module, is_path, normalize

PLURALS = {**{f"{kind}s": kind for kind in KINDS}, "losses": "loss", "strategies": "strategy"}


@dataclass(frozen=True)
class Entry:
    """A component and the plugin that brought it; None for one's own code."""

    component: Component
    plugin: Plugin | None = None

    @property
    def provider(self) -> str:
        """The plugin's name."""
        return self.plugin.name if self.plugin else "own code"

    def load(self) -> Callable[..., Any]:
        """The target itself.

        Raises:
            PluginError: When it cannot be imported, with the original exception and the likely fix.
        """
        component = self.component
        if not isinstance(component.target, str):
            return component.target
        module_name, _, attribute = component.target.rpartition(":")
        try:
            module = import_module(module_name) if self.plugin is None else importlib.import_module(module_name)
        except WfError:
            raise
        except (Exception, SystemExit) as error:  # a module that calls sys.exit must not end wf
            if self.plugin is None and not is_path(module_name) and isinstance(error, ModuleNotFoundError):
                raise UsageError(f"{component.kind} '{component.target}': {explain(error)}") from error
            raise PluginError(
                f"{component.kind} '{component.name}' of {self.provider} could not be loaded\n  {explain(error)}"
            ) from error
        return self._attribute(module, attribute)

    def _attribute(self, module: Any, attribute: str) -> Callable[..., Any]:
        target = module
        for part in attribute.split("."):
            if not hasattr(target, part):
                names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
                message = unknown(f"name in {self.component.target.rpartition(':')[0]}", attribute, names)  # type: ignore[union-attr]  # a string here
                raise (UsageError if self.plugin is None else PluginError)(message)
            target = getattr(target, part)
        if not callable(target):
            raise UsageError(f"{self.component.target} is {type(target).__name__}, which cannot be called")
        return target  # type: ignore[no-any-return]  # checked just above

    def place(self) -> str | None:
        """``file:line`` of the target, where it can be told."""
        target = inspect.unwrap(self.load())
        try:
            file, (_, line) = inspect.getsourcefile(target), inspect.getsourcelines(target)
        except (TypeError, OSError):
            return None
        return f"{file}:{line}" if file else None


class Registry:
    """Every component that the loaded plugins bring.

    Two plugins may bring the same name: both stay listed, the bare name is an error that names both, and
    ``name@distribution`` picks one. No plugin has priority.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._names: dict[tuple[str, str], list[Entry]] = {}
        self._aliases: dict[tuple[str, str], list[Entry]] = {}
        self._catalogues: dict[tuple[str, str], list[tuple[Catalogue, Plugin]]] = {}
        for plugin in self.plugins:
            for component in plugin.components:
                self._add(component, plugin)

    @classmethod
    def discover(cls, selection: Selection | None = None) -> Registry:
        """The registry of the selected plugins; by default of the installed ones, as the environment says."""
        return cls(discover(Selection.parse(()) if selection is None else selection))

    def _add(self, component: Component | Catalogue, plugin: Plugin) -> None:
        if isinstance(component, Catalogue):
            self._catalogues.setdefault((component.kind, plain_name(component.prefix)), []).append((component, plugin))
            return
        entry = Entry(component, plugin)
        self._names.setdefault((component.kind, plain_name(component.name)), []).append(entry)
        for alias in component.aliases:
            self._aliases.setdefault((component.kind, plain_name(alias)), []).append(entry)

    def entries(self, kind: str | None = None, *, catalogues: bool = False) -> Iterator[Entry]:
        """The components, by kind and name; with the members of catalogues if asked for."""
        order = list(KINDS)
        for _, entries in sorted(self._names.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
            yield from (entry for entry in entries if kind in (None, entry.component.kind))
        for catalogue, plugin in self.catalogues(kind) if catalogues else ():
            for name in catalogue.names():
                yield Entry(catalogue.member(name), plugin)

    def catalogues(self, kind: str | None = None) -> Iterator[tuple[Catalogue, Plugin]]:
        """The catalogues and the plugins that brought them."""
        for pairs in self._catalogues.values():
            yield from (pair for pair in pairs if kind in (None, pair[0].kind))

    def find(self, kind: str, name: str) -> Entry:
        """The component of that kind and name.

        Args:
            kind: One of `wf.component.KINDS`.
            name: Its name or an alias, ``name@distribution``, a catalogue's member ``prefix/name``, or one's own code
                as ``path.py:Attr`` or ``package.module:Attr``.

        Raises:
            UsageError: For an unknown name, with the closest ones; for a name that two plugins bring.
        """
        if ":" in name:
            path, _, attribute = name.rpartition(":")
            if not path or not attribute:
                raise UsageError(f"{kind} '{name}' is not of the form path.py:Attr or package.module:Attr")
            return Entry(Component(kind, _own_name(name), name))
        bare, _, provider = name.partition("@")
        found = self._found(kind, bare)
        if provider:
            found = [entry for entry in found if _brought_by(entry, provider)] or self._unknown_provider(
                kind, bare, provider, found
            )
        if not found:
            raise UsageError(self._explain_unknown(kind, name))
        if len(found) > 1:
            choices = " or ".join(f"{entry.component.name}@{entry.provider}" for entry in found)
            raise UsageError(f"{kind} '{name}' comes from {len(found)} plugins\n  say which one: {choices}")
        return found[0]

    def for_file(self, kind: str, name: str) -> Entry | None:
        """The component of that kind that reads a file of that name (a folder's ends with a slash), if one does.

        Raises:
            UsageError: When several do.
        """
        found = [entry for entry in self.entries(kind) if _reads(entry.component, name)]
        if len(found) > 1:
            choices = " or ".join(f"{entry.component.name}@{entry.provider}" for entry in found)
            raise UsageError(f"several {kind}s read files like '{name}': {choices}\n  name one and give it its path")
        return found[0] if found else None

    def has(self, kind: str, name: str) -> bool:
        """Whether the name is known, be it of several plugins."""
        return bool(self._found(kind, name))

    def names(self, kind: str) -> list[str]:
        """The names of a kind, catalogues' members not included."""
        return sorted({entry.component.name for entry in self.entries(kind)})

    def is_ambiguous(self, component: Component) -> bool:
        """Whether several plugins bring the name of a component."""
        return len(self._found(component.kind, component.name)) > 1

    def kinds_of(self, name: str) -> list[str]:
        """The kinds in which `name` is known."""
        return [kind for kind in KINDS if self._found(kind, name)]

    def _found(self, kind: str, name: str) -> list[Entry]:
        """The entries of a name, an alias or a catalogue's member."""
        plain = plain_name(name)
        return [*self._names.get((kind, plain), ()), *self._aliases.get((kind, plain), ())] or self._member(kind, plain)

    def _member(self, kind: str, name: str) -> list[Entry]:
        prefix, slash, member = name.partition("/")
        pairs = self._catalogues.get((kind, plain_name(prefix)), []) if slash else []
        return [Entry(catalogue.member(member), plugin) for catalogue, plugin in pairs if member in catalogue.names()]

    def _unknown_provider(self, kind: str, name: str, provider: str, found: list[Entry]) -> list[Entry]:
        if not found:
            return []
        raise UsageError(unknown(f"provider of {kind} '{name}'", provider, [entry.provider for entry in found]))

    def _explain_unknown(self, kind: str, name: str) -> str:
        others = [other for other in self.kinds_of(name) if other != kind]
        hints = [f"'{name}' is {article(other)} {other}: use --{other} {name}" for other in others]
        candidates = self.names(kind)
        aliases = [alias for other, alias in self._aliases if other == kind]
        if not closest(name, candidates) or "/" in name:
            candidates += [
                f"{catalogue.prefix}/{member}"
                for catalogue, _ in self.catalogues(kind)
                for member in closest(name.rpartition("/")[2], catalogue.names())
            ]
        failed = [plugin for plugin in self.plugins if plugin.status != "ok"]
        if failed:
            states = ", ".join(f"{plugin.name} ({plugin.status})" for plugin in failed)
            hints.append(f"it may be in a plugin that is not loaded: {states}; see wf list-plugins")
        listing = f"see: wf list {kind}   own code: --{kind} path.py:Name"
        return unknown(kind, name, candidates, "\n  ".join([*hints, listing]), also=aliases)


def read_kind(word: str) -> str:
    """A kind, written in the singular or plural.

    Raises:
        UsageError: With the closest kinds.
    """
    kind = PLURALS.get(word.lower(), word.lower())
    if kind not in KINDS:
        raise UsageError(unknown("kind", word, KINDS))
    return kind


def entry_of(kind: str, target: Callable[..., Any]) -> Entry:
    """An entry for a live class or function."""
    name = _own_name(getattr(target, "__name__", type(target).__name__))
    return Entry(with_target(Component(kind, name, "live:object"), target))


def plain_name(name: str) -> str:
    """A component's name without regard to case and to `_` for `-`; catalogues' members keep theirs."""
    return name.strip() if "/" in name else name.strip().lower().replace("_", "-")


def _brought_by(entry: Entry, provider: str) -> bool:
    """Whether the plugin, or its distribution, has that name."""
    names = (entry.provider, entry.plugin.distribution or "" if entry.plugin else "")
    return normalize(provider) in map(normalize, names)


def _reads(component: Component, name: str) -> bool:
    return any(name.lower().endswith(ending) for ending in getattr(component.traits, "files", ()))


def _own_name(text: str) -> str:
    """A component name for one's own code, from ``path.py:Attr``."""
    path, _, attribute = text.rpartition(":")
    stem = Path(path).stem if path else ""
    words = "-".join(part for part in (stem, attribute) if part)
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in words.lower()).strip("-") or "own"
