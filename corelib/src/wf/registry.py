"""The registry: ``(kind, name) -> Component``, with aliases, suggestions, collisions and provenance."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from wf.declarations.component import Catalogue, Component
from wf.declarations.declared import DECLARATIONS, plurals
from wf.declarations.kinds import KINDS
from wf.discovery.deprecation import check_name
from wf.discovery.distributions import builtin_distributions, is_installed
from wf.discovery.entry import Entry, names_of, own_name
from wf.discovery.guard import Guard
from wf.discovery.known import is_among, known_as, known_members, who_brings, who_declares
from wf.discovery.modules import normalize
from wf.discovery.plugins import Plugin, Selection, discover
from wf.discovery.settings import Pin
from wf.discovery.settings import load as load_settings
from wf.errors import PluginError, UsageError, WfError, article, closest, plain_word, unknown

if TYPE_CHECKING:
    pass

_LOG = logging.getLogger("wf")


Ask = Callable[["Registry"], Guard]
"""Decides which code a run directory may load; called with the registry without that code."""


class Registry:
    """All components of the loaded plugins.

    Two plugins may provide the same name: both stay listed, the bare name is an error that names both, and
    ``name@distribution`` or a pin picks one. No plugin has priority; only where the user names nothing does wf choose
    its own component (`own_choice`).

    Args:
        plugins: The discovered plugins, including those that are not loaded.
        pins: The providers that bare names mean; of several pins of a name the first one counts.
        guard: Asked before code that no plugin declares is loaded; None allows it.
    """

    def __init__(self, plugins: Iterable[Plugin], pins: Iterable[Pin] = (), guard: Guard | None = None) -> None:
        self.plugins = tuple(plugins)
        self.guard = guard
        self.pins: dict[tuple[str, str], Pin] = {}
        for pin in pins:
            self.pins.setdefault((pin.kind, plain_name(pin.name)), pin)
        self.claims: dict[str, list[Entry]] = {}
        """The components that plugins declare as defaults, by kind; see `wf_building.defaults`."""
        self._names: dict[tuple[str, str], list[Entry]] = {}
        self._aliases: dict[tuple[str, str], list[Entry]] = {}
        self._catalogues: dict[tuple[str, str], list[tuple[Catalogue, Plugin]]] = {}
        self._found: dict[tuple[str, str], Entry] = {}
        """Cache of lookups by name, since a build needs most names several times."""
        for plugin in self.plugins:
            for component in plugin.components:
                self._add(component, plugin)

    @classmethod
    def discover(
        cls,
        names: Iterable[str] = (),
        *,
        only_builtin: bool = False,
        of_run: Iterable[str] = (),
        ask: Ask | None = None,
        loaded: Iterable[Plugin] = (),
        incomplete: bool = False,
    ) -> Registry:
        """The registry of the installed plugins, as the environment and the settings say.

        Args:
            names: Further modules and files to load, and ``no:NAME`` for plugins to leave out.
            only_builtin: Load just the plugins that come with wf.
            of_run: Modules and files that a run file names, which allow-lists and `only_builtin` apply to.
            ask: Called with the registry without them, decides which code of a run file may be loaded; None allows all.
            loaded: The plugins of a registry of the same names without a run file's; these are not loaded again.
            incomplete: Whether a run file's plugins may follow, so that ``no:NAME`` may name one of these.

        Raises:
            UsageError: For a name or a settings file that cannot be read.
        """
        settings = load_settings()
        selection = Selection.parse(names, only_builtin=only_builtin, allow=settings.allow, of_run=of_run)
        guard: Guard | None = None

        def asked(plugins: Sequence[Plugin]) -> Guard:
            nonlocal guard
            if guard is None and ask is not None:
                guard = ask(cls(plugins, settings.pins))
            assert guard is not None
            return guard

        with _without_collections():
            plugins = discover(selection, asked if ask else None, loaded, incomplete=incomplete)
            if not only_builtin and all(plugin.status == "ok" for plugin in plugins):
                settings.check_kinds()
            return cls(plugins, settings.pins, asked(plugins) if ask else None)

    def preferring(self, pins: Iterable[Pin]) -> Registry:
        """The same components, with pins that win over its own."""
        return Registry(self.plugins, [*pins, *self.pins.values()], self.guard)

    def guarded(self, guard: Guard) -> Registry:
        """The same components; code that no plugin declares is loaded only if the guard allows it."""
        return Registry(self.plugins, self.pins.values(), guard)

    def installed(self) -> Registry:
        """The components of installed plugins only, without plugins named on the line or in a run file."""
        return Registry([plugin for plugin in self.plugins if plugin.distribution], self.pins.values(), self.guard)

    def _add(self, component: Component | Catalogue, plugin: Plugin) -> None:
        if isinstance(component, Catalogue):
            self._catalogues.setdefault((component.kind, plain_name(component.prefix)), []).append((component, plugin))
            return
        entry = Entry(component, plugin)
        self._names.setdefault((component.kind, plain_name(component.name)), []).append(entry)
        if component.default:
            self.claims.setdefault(component.kind, []).append(entry)
        for alias in (*component.aliases, *component.deprecated_names):
            self._aliases.setdefault((component.kind, plain_name(alias)), []).append(entry)

    def entries(self, kind: str | None = None, *, catalogues: bool = False) -> Iterator[Entry]:
        """The components, sorted by kind and name; with the members of catalogues if asked for.

        Tasks and links are included only if `kind` names theirs.
        """
        order = list(KINDS) if kind is None else [kind]
        keys = [key for key in self._names if key[0] in order]
        for key in sorted(keys, key=lambda key: (order.index(key[0]), key[1])):
            yield from self._names[key]
        for catalogue, plugin in self.catalogues(kind) if catalogues else ():
            for name in catalogue.names():
                yield _member(catalogue, plugin, name)

    def catalogues(self, kind: str | None = None) -> Iterator[tuple[Catalogue, Plugin]]:
        """The catalogues and the plugins that brought them."""
        for pairs in self._catalogues.values():
            yield from (pair for pair in pairs if kind in (None, pair[0].kind))

    def find(self, kind: str, name: str) -> Entry:
        """The component of that kind and name.

        Args:
            kind: One of `wf.declarations.kinds.KINDS`.
            name: Its name or an alias, ``name@distribution``, a catalogue's member ``prefix/name``, or the user's code
                as ``path.py:Attr`` or ``package.module:Attr``.

        Raises:
            UsageError: For an unknown name, with the closest ones; for a name that two plugins bring.
        """
        if (kind, name) not in self._found:
            self._found[kind, name] = self._find(kind, name)
        return self._found[kind, name]

    def _find(self, kind: str, name: str) -> Entry:
        if ":" in name:
            path, _, attribute = name.rpartition(":")
            if not path or not attribute:
                raise UsageError(f"{kind} '{name}' is not of the form path.py:Attr or package.module:Attr")
            return Entry(Component(kind, own_name(name), name), guard=self.guard)
        bare, at, provider = name.partition("@")
        if at and not (bare.strip() and provider.strip()):
            raise UsageError(f"{kind} '{name}' is not of the form NAME or NAME@DISTRIBUTION")
        found = self.providers(kind, bare)
        pin = None if provider else self._pin(kind, bare, found)
        if wanted := provider or (pin.provider if pin else ""):
            every, found = found, brought_by(found, wanted)
            if pin is not None and pin.of_project:
                tell_of_pin(pin, every, found)
        if not found:
            raise self._not_found(kind, bare, wanted, pin)
        if len(found) > 1:
            is_typed = kind in KINDS or DECLARATIONS[kind].is_typed
            say = (
                f"say which one: {_choices(found)}\n  or"
                if is_typed
                else f"choose {' or '.join(entry.provider for entry in found)}:"
            )
            settle = f'[tool.wf.pin.{kind}] {found[0].component.name} = "{found[0].distribution}"'
            raise UsageError(
                f"{kind} '{name}' comes from {len(found)} plugins\n  {say} settle it in pyproject.toml: {settle}"
            )
        check_name(found[0].component, bare)
        _check_not_refused(found[0])
        return found[0]

    def for_file(self, kind: str, name: str) -> Entry | None:
        """The component of that kind that reads a file of that name (a folder's ends with a slash), if one does.

        Raises:
            UsageError: When several do.
        """
        found = [entry for entry in self.entries(kind) if _reads(entry.component, name)]
        if len(found) > 1:
            raise UsageError(
                f"several {kind}s read files like '{name}': {_choices(found)}\n  name one and give it its path"
            )
        return found[0] if found else None

    def providers(self, kind: str, name: str) -> list[Entry]:
        """Every component with that name or alias, or catalogue member: none, one, or one per plugin."""
        plain = plain_name(name)
        return [*self._names.get((kind, plain), ()), *self._aliases.get((kind, plain), ())] or self._member(kind, plain)

    def shared_names(self) -> list[tuple[str, str]]:
        """Kind and name of every name and alias that several plugins have, and ``prefix/*`` for catalogues."""
        names = [key for key in {**self._names, **self._aliases} if len(self.providers(*key)) > 1]
        prefixes = [(kind, f"{prefix}/*") for (kind, prefix), pairs in self._catalogues.items() if len(pairs) > 1]
        return sorted([*names, *prefixes])

    def has(self, kind: str, name: str) -> bool:
        """Whether the name is known, even if several plugins provide it."""
        return bool(self.providers(kind, name))

    def own_choice(self, kind: str, name: str) -> str:
        """The name of a component that wf chooses by default: the built-in one, unless a pin says otherwise."""
        found = self.providers(kind, name)
        if len(found) > 1 and self._pin(kind, name, found) is None:
            builtin = builtin_distributions()
            found = [entry for entry in found if normalize(entry.distribution) in builtin]
            return self.full_name(found[0]) if len(found) == 1 else name
        return self.full_name(self.find(kind, name)) if len(found) > 1 else name

    def is_builtin(self, kind: str, name: str) -> bool:
        """Whether a built-in plugin has a component with that name."""
        return any(normalize(entry.distribution) in builtin_distributions() for entry in self.providers(kind, name))

    def full_name(self, entry: Entry) -> str:
        """A component's name, and its provider if several plugins have that name."""
        name = entry.component.name
        return f"{name}@{entry.provider}" if self.is_ambiguous(entry.component) else name

    def names(self, kind: str) -> list[str]:
        """The names of a kind, catalogues' members not included."""
        return sorted({entry.component.name for entry in self.entries(kind)})

    def is_ambiguous(self, component: Component) -> bool:
        """Whether several plugins have a component with this name."""
        return len(self.providers(component.kind, component.name)) > 1

    def unloaded(self, kind: str, name: str, provider: str = "") -> PluginError | None:
        """The error for a component of a plugin that is not loaded; None if no such plugin is known."""
        for plugin in self.plugins:
            asked_for = normalize(provider) in ("", *names_of(plugin))
            if plugin.status != "ok" and asked_for and _would_bring(plugin, kind, name):
                lines = [f"{kind} '{name}' is brought by {plugin.name}, which is not loaded ({plugin.status})"]
                lines += [text for text in (plugin.error, plugin.fix and f"try: {plugin.fix}") if text]
                return PluginError("\n  ".join(lines))
        return None

    def not_installed(self, kind: str, name: str) -> list[str]:
        """The known but uninstalled plugins with a component, and how to install them, in words.

        Plugins whose catalogue has a member of that name are mentioned if no installed plugin has one.
        """
        here = {plugin.distribution for plugin in self.plugins}
        members = known_members(kind, name)
        bring = [] if any(known.distribution in here for known, _ in members) else members
        bring += [(known, name) for known in who_brings(kind, name) if known.distribution not in here]
        return [
            f"{known.distribution} brings {kind} '{full}' and is not installed: {known.install}"
            for known, full in bring
        ]

    def kinds_of(self, name: str) -> list[str]:
        """The kinds in which `name` is known; with ``@provider``, the kinds that this provider has it in, if any."""
        bare, _, provider = name.partition("@")
        found = {kind: entries for kind in (*KINDS, *DECLARATIONS) if (entries := self.providers(kind, bare))}
        brought = [kind for kind, entries in found.items() if brought_by(entries, provider)]
        return brought or list(found)

    def _member(self, kind: str, name: str) -> list[Entry]:
        prefix, slash, member = name.partition("/")
        pairs = self._catalogues.get((kind, plain_name(prefix)), []) if slash else []
        return [_member(catalogue, plugin, member) for catalogue, plugin in pairs if member in catalogue.names()]

    def _pin(self, kind: str, name: str, found: Sequence[Entry]) -> Pin | None:
        """The pin of a name, or of the name that it is an alias of, if it picks one of the found components."""
        if pin := self.pins.get((kind, plain_name(name))):
            return pin
        pins = [self.pins.get((kind, plain_name(entry.component.name))) for entry in found]
        return next((pin for pin in pins if pin and brought_by(found, pin.provider)), None)

    def _not_found(self, kind: str, name: str, provider: str, pin: Pin | None) -> WfError:
        """Why a component does not exist, and what to do: an unknown name, or a plugin that is not loaded."""
        if unloaded := self.unloaded(kind, name, provider):
            return unloaded
        if pin is not None and pin.made_with:
            return self._gone(kind, name, pin)
        found = self.providers(kind, name)
        if pin is None and self._is_absent(provider):
            return _absent(kind, name, provider, found)
        if not found:
            return UsageError(self._explain_unknown(kind, name))
        if pin is None:
            return UsageError(unknown(f"provider of {kind} '{name}'", provider, [entry.provider for entry in found]))
        return UsageError(
            f"{kind} '{name}' is pinned to {provider}, which does not bring it\n  the pin stands in {pin.place}\n"
            f"  available: {_choices(found)}"
        )

    def _is_absent(self, provider: str) -> bool:
        """Whether no plugin has the name of a provider, or nearly so."""
        return bool(provider) and not closest(provider, [name for plugin in self.plugins for name in names_of(plugin)])

    def _gone(self, kind: str, name: str, pin: Pin) -> PluginError:
        """The error for a run's component that no longer exists, even if another one has its name."""
        plugin = next((plugin for plugin in self.plugins if normalize(pin.provider) in names_of(plugin)), None)
        state = "not installed" if plugin is None else f"not loaded ({plugin.status})"
        if plugin is not None and plugin.status == "ok":
            state = f"now {plugin.version or 'a file'} and no longer has it"
        return PluginError(
            f"{kind} '{name}' of this run came from {pin.made_with}, which is {state}\n"
            f"  the run: {pin.place}\n  try: {(plugin and plugin.fix) or pin.fix}"
        )

    def _explain_unknown(self, kind: str, name: str) -> str:
        others = [other for other in self.kinds_of(name) if other != kind]
        hints = [f"'{name}' is {article(other)} {other}: use --{other} {name}" for other in others]
        hints += self.not_installed(kind, name)
        candidates = [*self.names(kind), *(f"{catalogue.prefix}/..." for catalogue, _ in self.catalogues(kind))]
        current = [entry.component for entry in self.entries(kind)]
        aliases = [alias for component in current for alias in component.aliases]
        missing = [plugin for plugin in self.plugins if plugin.status != "ok"]
        if missing:
            states = ", ".join(f"{plugin.name} ({plugin.status})" for plugin in missing)
            hints.append(f"it may be in a plugin that is not loaded: {states}; see wf list-plugins")
        own = "" if kind in DECLARATIONS else f"   own code: --{kind} path.py:Name"
        listing = f"see: wf list {kind}{own}"
        first = self.meant([kind], name)
        return unknown(kind, name, candidates, "\n  ".join([*hints, listing]), also=aliases, first=first)

    def meant(self, kinds: Iterable[str], name: str) -> list[str]:
        """Names that an unknown name may mean although they look different, best first.

        These are catalogue members given without their prefix, components with a similar old name, and, if no other
        component has a similar name, catalogue members that do; members of the catalogue that was typed come first.
        """
        kinds, (prefix, _, bare) = list(kinds), name.rpartition("/")
        families = [catalogue for kind in kinds for catalogue, _ in self.catalogues(kind)]
        components = [entry.component for kind in kinds for entry in self.entries(kind)]
        old = {word: component.name for component in components for word in component.deprecated_names}
        found = [
            f"{family.prefix}/{member}"
            for family in families
            for member in family.names()
            if plain_word(member) == plain_word(bare)
        ]
        found += [old[word] for word in closest(name, old)]
        if "/" in name or not closest(name, [component.name for component in components]):
            found += [f"{family.prefix}/{member}" for family in families for member in closest(bare, family.usable())]
        return sorted(dict.fromkeys(found), key=lambda word: word.partition("/")[0] != prefix)


def read_kind(word: str) -> str:
    """The kind that a word means, in the singular or plural.

    Raises:
        UsageError: With the closest kinds.
    """
    kind = plurals().get(word.lower(), word.lower())
    if kind not in KINDS and kind not in DECLARATIONS:
        declared = (who_declares(one) for one in (kind, kind.removesuffix("s"), kind.removesuffix("es")))
        if owner := next(filter(None, declared), None):
            raise UsageError(
                f"kind '{word}' is declared by {owner.distribution}, which is not loaded\n  try: {owner.install}"
            )
        raise UsageError(unknown("kind", word, [*KINDS, *DECLARATIONS]))
    return kind


def split_kind(word: str) -> tuple[str, str] | None:
    """The kind and the name of ``KIND/NAME``; None for any other word."""
    head, slash, name = word.partition("/")
    return (read_kind(head), name) if slash and name and head in (*KINDS, *DECLARATIONS, *plurals()) else None


@contextmanager
def _without_collections() -> Iterator[None]:
    """Switch garbage collection off while thousands of lasting declarations are made: it would take a tenth of the
    time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def plain_name(name: str) -> str:
    """A component's name without regard to case and to `_` for `-`; catalogues' members keep theirs."""
    return name.strip() if "/" in name else name.strip().lower().replace("_", "-")


def _member(catalogue: Catalogue, plugin: Plugin, name: str) -> Entry:
    return Entry(catalogue.member(name), plugin, catalogue.refused().get(name, ""))


def tell_of_pin(pin: Pin, every: Sequence[Entry], found: Sequence[Entry]) -> None:
    """Log that a project's pin makes a built-in name mean another plugin's component."""
    builtin = builtin_distributions()
    ours = [entry for entry in every if normalize(entry.distribution) in builtin]
    if ours and found and not any(entry in ours for entry in found):
        _warn_once(f"{pin.kind} '{pin.name}' comes from {found[0].provider} instead of wf: {pin.place} pins it")


@cache
def _warn_once(text: str) -> None:
    logging.getLogger("wf").warning("%s", text)


def _check_not_refused(entry: Entry) -> None:
    if entry.refused:
        raise UsageError(f"{entry.component.kind} '{entry.component.name}' cannot be used: {entry.refused}")


def _absent(kind: str, name: str, provider: str, found: Iterable[Entry]) -> PluginError:
    """The error for a component of a missing plugin."""
    known = known_as(provider)
    advice = f"try: {known.install}" if known else "wf knows of no plugin of that name: is it spelt right?"
    lines = [f"{kind} '{name}' should come from {provider}, which is not installed", advice]
    if is_installed(provider):
        why = "left out by --only-builtin or WF_DISABLE_PLUGIN_AUTOLOAD, or has no plugin"
        lines = [f"{kind} '{name}' should come from {provider}, which is installed but not loaded", f"it is {why}"]
    if others := _choices(found):
        lines.append(f"available: {others}")
    return PluginError("\n  ".join(lines))


def _choices(entries: Iterable[Entry]) -> str:
    return " or ".join(f"{entry.component.name}@{entry.provider}" for entry in entries)


def brought_by(entries: Iterable[Entry], provider: str) -> list[Entry]:
    """The entries of a plugin; if it has none, the entries that it used to have."""
    found = list(entries)
    return [one for one in found if one.is_from(provider)] or [one for one in found if one.was_from(provider)]


def _would_bring(plugin: Plugin, kind: str, name: str) -> bool:
    """Whether a plugin that is not loaded has a component of that name, as its source or the index says."""
    declared = is_among(name, [promised for other, promised in plugin.promised if other == kind])
    return declared or any(known.distribution == plugin.distribution for known in who_brings(kind, name))


def _reads(component: Component, name: str) -> bool:
    return any(name.lower().endswith(ending) for ending in getattr(component.traits, "files", ()))
