"""Plugins that are known to exist, installed or not: they tell which one provides a missing name.

The index is ``known_plugins.toml`` beside this file; ``docs/known-plugins.md`` says how to add a plugin. The members of
its catalogues are in ``known_members.txt``, which ``docs/generate.py`` writes.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from wf.discovery.modules import normalize
from wf.errors import plain_word

CORE = "wf-core"


@dataclass(frozen=True)
class KnownPlugin:
    """A plugin's distribution in the index."""

    distribution: str
    summary: str
    install: str
    """What to type."""
    names: Mapping[str, Sequence[str]]
    """The names that it brings, aliases included, by kind; ``prefix/*`` for a catalogue."""

    kinds: Sequence[str] = ()
    """The kinds of components that it declares."""
    reads: Sequence[str] = ()
    """The endings of the files that its datasets read."""

    def brings(self, kind: str, name: str) -> bool:
        """Whether a component of that kind and name is in it."""
        return is_among(name, self.names.get(kind, ()))


@cache
def index() -> tuple[KnownPlugin, ...]:
    """The whole index, by name."""
    import tomllib  # only a message about something missing needs the index

    document = tomllib.loads(_text("known_plugins.toml"))
    return tuple(
        KnownPlugin(
            name, table["summary"], table["install"], table["names"], table.get("kinds", ()), table.get("reads", ())
        )
        for name, table in sorted(document.items())
    )


def is_among(name: str, names: Iterable[str]) -> bool:
    """Whether a component's name is among the names, some of which may be ``prefix/*``."""
    plain = {plain_word(one) for one in names}
    prefix, slash, _ = plain_word(name).partition("/")
    return plain_word(name) in plain or bool(slash and f"{prefix}/*" in plain)


def who_reads(ending: str) -> list[KnownPlugin]:
    """The distributions whose datasets read files with an ending."""
    return [known for known in index() if ending in known.reads]


def who_brings(kind: str, name: str) -> list[KnownPlugin]:
    """The distributions that bring a component."""
    return [known for known in index() if known.brings(kind, name)]


def who_declares(kind: str) -> KnownPlugin | None:
    """The distribution that declares a kind."""
    return next((known for known in index() if kind in known.kinds), None)


def known_as(distribution: str) -> KnownPlugin | None:
    """The plugin of that distribution in the index."""
    return next((known for known in index() if known.distribution == normalize(distribution)), None)


def how_to_install(distribution: str, option: str) -> str:
    """The command that reinstalls a distribution. wf's own distributions are not on the package index, where others
    may take their names.

    Args:
        distribution: Its name.
        option: pip's option.
    """
    if normalize(distribution) == CORE:
        return f"pip install {option} ./corelib in a checkout of wf"
    known = known_as(distribution)
    return (
        known.install.replace("pip install", f"pip install {option}", 1)
        if known
        else f"pip install {option} {distribution}"
    )


def known_members(kind: str, name: str) -> list[tuple[KnownPlugin, str]]:
    """The catalogues' members of that name alone, without a prefix, each with the distribution that brings it."""
    found = []
    for line in _text("known_members.txt").splitlines():
        its_kind, prefix, *members = line.split()
        if its_kind == kind:
            full = [f"{prefix}/{member}" for member in members if plain_word(member) == plain_word(name)]
            found += [(known, member) for member in full for known in who_brings(kind, member)]
    return found


@cache
def _text(file: str) -> str:
    content = pkgutil.get_data("wf", file)
    assert content is not None
    return content.decode()
