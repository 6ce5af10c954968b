"""Finds the component that the user names, and makes its record for ``--json``."""

from __future__ import annotations

from typing import Any

from wf.declarations.declared import plurals, summaries
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.errors import UsageError, closest, unknown
from wf.registry import Registry, read_kind, split_kind
from wf_cli.listing.words import word_kind


def find_any(registry: Registry, words: tuple[str, ...]) -> Entry:
    """Resolve ``[KIND] NAME`` or ``KIND/NAME`` to an entry.

    Raises:
        UsageError: For an unknown kind or name, or an ambiguous name.
    """
    if len(words) > 2:
        raise UsageError(f"too many words: {' '.join(words)}\n  write: wf show [KIND] NAME")
    if len(words) == 2:
        return registry.find(read_kind(words[0]), words[1])
    word = words[0]
    if pair := split_kind(word):
        return registry.find(*pair)
    kinds = registry.kinds_of(word)
    if len(kinds) == 1:
        return registry.find(kinds[0], word)
    if kinds:
        raise UsageError(
            f"'{word}' is ambiguous\n  use one of: " + " or ".join(f"wf show {kind} {word}" for kind in kinds)
        )
    bare, _, provider = word.partition("@")
    for kind in summaries():
        if unloaded := registry.unloaded(kind, bare, provider):
            raise unloaded
    raise UsageError(_explain_unknown(registry, word))


def _explain_unknown(registry: Registry, word: str) -> str:
    if words := word_kind(word):
        return f"'{word}' is not a component\n  to list all: wf list {words}s   to show one: wf show {words} NAME"
    if word in summaries() or word in plurals():
        return f"'{word}' is a kind, not a component\n  list its components: wf list {word}"
    if ":" in word:
        return f"'{word}' is your own code, which may be of any kind\n  name the kind: wf show KIND {word}"
    for catalogue, _ in registry.catalogues():
        if word.strip("/") == catalogue.prefix:
            search = f"wf list {catalogue.kind} --search {catalogue.prefix}/"
            return f"'{word}' is a catalogue, not a component\n  list its components: {search}"
    names = [name for kind in summaries() for name in registry.names(kind)]
    names += [f"{catalogue.prefix}/..." for catalogue, _ in registry.catalogues()]
    hints = [hint for kind in summaries() for hint in registry.not_installed(kind, word)]
    first = registry.meant(KINDS, word)
    return unknown("component", word, names, "\n  ".join([*dict.fromkeys(hints), "see: wf list"]), first=first)


def kind_of(word: str, registry: Registry) -> str:
    """The kind that a word names, in the singular or plural.

    Raises:
        UsageError: If the word is not a kind; the message says so if it is a component.
    """
    try:
        return read_kind(word)
    except UsageError:
        kinds = registry.kinds_of(word)
        if not kinds and closest(word, ["list-plugins"]):
            raise UsageError(f"'{word}' is not a kind\n  to list plugins: wf list-plugins") from None
        if not kinds:
            raise
        raise UsageError(f"'{word}' is a {kinds[0]}, not a kind\n  to show it: wf show {kinds[0]} {word}") from None


def component_record(entry: Entry) -> dict[str, Any]:
    """The record of a component for ``--json``."""
    component, plugin = entry.component, entry.plugin
    return {
        "kind": component.kind,
        "name": component.name,
        "summary": component.summary,
        "plugin": entry.provider,
        "distribution": plugin.distribution if plugin else None,
        "version": plugin.version if plugin else None,
        "target": component.target_name,
    }
