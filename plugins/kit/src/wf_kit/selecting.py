"""Selection of components to check, with the author's settings for skips, options and the run.

Imports no torch, so that a wrong name is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf.declarations.declared import DECLARATIONS, plurals
from wf.declarations.kinds import KINDS
from wf.discovery.distributions import GROUP, is_installed
from wf.discovery.entry import Entry
from wf.discovery.modules import normalize
from wf.discovery.plugins import Plugin
from wf.discovery.settings import Settings
from wf.errors import PluginError, UsageError, unknown
from wf.registry import Registry, read_kind

TABLES = ("skip", "options", "run")
"""The tables below ``[tool.wf.check]``."""

Table = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Wishes:
    """An author's settings for the checks."""

    skip: Mapping[str, str] = field(default_factory=dict)
    """The reason for skipping a check, by ``check-id`` or ``kind/name:check-id``."""
    options: Table = field(default_factory=dict)
    """Values for the options of a component, by ``kind/name``."""
    run: Table = field(default_factory=dict)
    """Run-file keys that override the kit's run around a component, by ``kind/name``."""

    @classmethod
    def of(cls, settings: Settings) -> Wishes:
        """The settings in ``[tool.wf.check]``.

        Raises:
            UsageError: For an unknown table.
        """
        for name in settings.check:
            if name not in TABLES:
                raise UsageError(unknown("table", name, TABLES, of="[tool.wf.check]"))
        return cls(**{name: dict(settings.check.get(name, {})) for name in TABLES})

    def over(self, other: Wishes) -> Wishes:
        """These settings, completed by `other`."""
        return Wishes({**other.skip, **self.skip}, _merged(other.options, self.options), _merged(other.run, self.run))

    def check(self) -> None:
        """Check that each skip has a reason, and that table names have the right form.

        Raises:
            UsageError: If not.
        """
        for name, reason in self.skip.items():
            if not isinstance(reason, str) or not reason.strip():
                raise UsageError(f"the skip of '{name}' has no reason\n  write: '{name}' = \"REASON\"")
        for what, table in (("options", self.options), ("run", self.run)):
            for name, value in table.items():
                if name.partition("/")[0] not in (*KINDS, *DECLARATIONS) or not isinstance(value, Mapping):
                    raise UsageError(f"'{what}' of '{name}': write a table for a component, such as loss/focal")


def select(registry: Registry, words: Sequence[str], options: Table | None = None) -> list[Entry]:
    """The components with the given names.

    Args:
        registry: Where they are looked up.
        words: A plugin or distribution; a component (``focal``, ``loss/focal``); or a kind and a component.
        options: By component; catalogue members named here are the ones to check.

    Raises:
        UsageError: For an unknown name.
        PluginError: For a plugin that is not loaded.
    """
    if len(words) > 2 or not words:
        raise UsageError(
            f"{len(words)} words are not the name of a component: {' '.join(words)}\n  write: PLUGIN, or [KIND] NAME"
        )
    if len(words) == 2:
        return [registry.find(read_kind(words[0]), words[1])]
    word = words[0]
    plugins = [plugin for plugin in registry.plugins if normalize(word) in _names(plugin)]
    if plugins:
        return [entry for plugin in plugins for entry in _brought(registry, plugin, options or {})]
    kind, slash, name = word.partition("/")
    if slash and (kind in (*KINDS, *DECLARATIONS) or kind in plurals()):
        return [registry.find(read_kind(kind), name)]
    kinds = registry.kinds_of(word.partition("@")[0])
    if len(kinds) > 1:
        choices = " or ".join(f"{kind}/{word}" for kind in kinds)
        raise UsageError(f"'{word}' is ambiguous\n  use one of: {choices}")
    return [registry.find(kinds[0], word)] if kinds else [_unknown(registry, word)]


def _names(plugin: Plugin) -> set[str]:
    return {normalize(plugin.name), normalize(plugin.distribution or plugin.name)}


def _brought(registry: Registry, plugin: Plugin, options: Table) -> Iterator[Entry]:
    """The components of a plugin, by kind and name; one member per catalogue."""
    if plugin.status != "ok":
        lines = [f"plugin '{plugin.name}' is not loaded ({plugin.status}): {plugin.error}"]
        raise PluginError("\n  ".join([*lines, *([f"try: {plugin.fix}"] if plugin.fix else [])]))
    for kind in (None, *DECLARATIONS):
        yield from (entry for entry in registry.entries(kind) if entry.plugin is plugin)
    for catalogue, owner in registry.catalogues():
        if owner is plugin:
            named = [name for name in catalogue.names() if f"{catalogue.kind}/{catalogue.prefix}/{name}" in options]
            for name in named or catalogue.usable()[:1]:
                yield Entry(catalogue.member(name), plugin)


def _unknown(registry: Registry, word: str) -> Entry:
    if word in KINDS or word in plurals():
        raise UsageError(f"'{word}' is a kind, not a component\n  name one: {word} NAME")
    if ":" in word:
        raise UsageError(f"'{word}' is your own code, which may be of any kind\n  name the kind: KIND {word}")
    for kind in KINDS:
        if (error := registry.unloaded(kind, word)) is not None:
            raise error
    _check_elsewhere(word)
    names = [plugin.name for plugin in registry.plugins]
    names += [name for kind in KINDS for name in registry.names(kind)]
    hints = [hint for kind in KINDS for hint in registry.not_installed(kind, word)]
    raise UsageError(
        unknown("plugin or component", word, names, "\n  ".join([*hints, "see: wf list-plugins, wf list"]))
    )


def _check_elsewhere(word: str) -> None:
    """Refuse existing files, folders and packages that are not plugins or components."""
    path = Path(word).expanduser()
    if path.is_dir():
        folder = word if word.startswith((".", "/", "~")) else f"./{word}"
        raise UsageError(
            f"'{word}' is a folder\n  install the package in it, then check it by name: pip install {folder}"
        )
    if path.is_file():
        raise UsageError(
            f"'{word}' is a file\n  check the plugin in it: wf check {path.stem} -p {word}\n"
            f"  or a component in it: wf check KIND {word}:NAME"
        )
    if is_installed(word):
        raise UsageError(
            f"'{word}' is installed but no plugin: it has no entry point in the group '{GROUP}'\n  see: wf list-plugins"
        )


def _merged(under: Table, over: Table) -> dict[str, dict[str, Any]]:
    return {name: {**under.get(name, {}), **over.get(name, {})} for name in (*under, *over)}
