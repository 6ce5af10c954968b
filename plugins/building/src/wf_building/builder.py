"""Building components: options converted, run values filled in, nested components first."""

from __future__ import annotations

import contextlib
import inspect
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, time
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from wf.blame import FAILURES, blame
from wf.declarations.component import REQUIRED, Param
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS, Kind, option_prefix
from wf.declarations.task import Task
from wf.declarations.values import VALUES
from wf.discovery.deprecation import current_options
from wf.discovery.entry import Entry, entry_of
from wf.discovery.modules import describe, import_module, is_path, locate
from wf.errors import UsageError, WfError
from wf.parameters import (
    allows_none,
    check_known,
    convert,
    is_function_loss,
    parameters,
    takes_several,
    with_names,
    without_null,
)
from wf.protocols import Stateful
from wf.registry import Registry
from wf.traits import Traits
from wf.typed import Repeated, last_of
from wf_building.checked import Checked, checked
from wf_building.defaults import default_of
from wf_building.resolver import Find, Provider, Resolver
from wf_building.scopes import SCOPED, entry_of_scopes, scopes_of

_LOG = logging.getLogger("wf")

LIVE = "live "
"""The prefix of a live object's class in place of a name."""


@dataclass(frozen=True)
class Built:
    """A component that was made."""

    value: Any
    """The object."""
    entry: Entry | None
    """Where it came from; None for a live object."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its converted options, defaults included, without run values."""
    ambiguous: bool = False
    """Several plugins have its name, so a run file must name the plugin."""
    scopes: Mapping[str, Built] = field(default_factory=dict)
    """Its components by scope, see `wf_building.scopes`."""

    @property
    def repeatable(self) -> bool:
        """Whether a run file can rebuild it: neither it nor an option is a live object."""
        entry = self.entry
        if self.scopes:
            return all(one.repeatable for one in self.scopes.values())
        named = entry is not None and (entry.plugin is not None or isinstance(entry.component.target, str))
        return named and _is_plain(self.options)

    @property
    def name(self) -> str:
        """The component's name, or the live object's class."""
        return self.entry.component.name if self.entry else name_of_live(self.value)

    def table(self) -> dict[str, Any]:
        """Its table in a run file."""
        if self.entry is None:
            return {"use": f"{LIVE}{type(self.value).__module__}:{type(self.value).__qualname__}"}
        component = self.entry.component
        if self.scopes:
            return {"use": SCOPED, **{name: one.table() for name, one in self.scopes.items()}}
        own = self.entry.plugin is None
        provider = f"@{self.entry.provider}" if self.ambiguous else ""
        return {"use": component.target_name if own else f"{component.name}{provider}", **self.options}


NO_COMPONENT = (bool, int, float, bytes, date)
"""What a run file may hold, or a line may say, and what is no component in Python either."""


class Builder:
    """Makes components from tables, with the values that the run knows so far.

    Args:
        registry: Where names are looked up.
        values: What the run knows, by the names of `wf.declarations.values.VALUES`; it grows as the run is built.
        folders: Where relative paths are looked up when they are not below the working directory.
        plan: The run file, for the components of kinds that plugins brought; their tables are resolved there.
        apart: Given a run value's name, a context in which its provider is called, whatever that draws.
        find: Finds the provider of a value that the run itself brings.
    """

    def __init__(
        self,
        registry: Registry,
        values: Mapping[str, Any] | None = None,
        folders: Sequence[Path] = (),
        plan: dict[str, Any] | None = None,
        apart: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
        find: Find = lambda name: None,
    ) -> None:
        self.registry = registry
        self.folders = tuple(folders)
        self._find_of_run = find
        self.values = Resolver(values, self._provider, apart)
        self.contributed: dict[str, Built | list[Built]] = {}
        """The components of kinds that plugins declared."""
        self.within: dict[str, Mapping[str, Any]] = {}
        """The run values of a scope or of a nested component, such as ``optimizer.generator``."""
        self._plan = {} if plan is None else plan
        self._scopes: Mapping[str, tuple[str, ...]] | None = None
        self._live: set[str] = set()
        """The placeholders of live objects in the plan."""
        self.made: list[Entry] = []
        """The components that it has made so far, nested ones included."""

    def entry(self, kind: str, use: Any) -> Entry | None:
        """The entry behind a name, class or function; None for a live object."""
        if isinstance(use, str) and use in self._live:
            return None
        if isinstance(use, str) and use.startswith(LIVE):
            raise UsageError(
                f"{kind}: this run used a live object ({use.removeprefix(LIVE)}), which its file cannot make again\n"
                "  build the run in Python with the same object, then .restore()"
            )
        if use == SCOPED and kind in self.scopes:
            return entry_of_scopes(kind, self.scopes[kind])
        if isinstance(use, str):
            return self.registry.find(kind, self._own_code(use))
        return entry_of(kind, use) if _makes(kind, use) else None

    @property
    def scopes(self) -> Mapping[str, tuple[str, ...]]:
        """The scopes that the trainer of the run declares."""
        use = (self._plan.get("trainer") or {}).get("use")
        if use is None:
            return {}
        if self._scopes is None:  # once: a trainer that was made stands in the plan as its name
            entry = self.entry("trainer", use)
            self._scopes = {} if entry is None else scopes_of(entry)
        return self._scopes

    def params(self, entry: Entry) -> tuple[Param, ...]:
        """The options of an entry."""
        return parameters(entry.component, entry.described)

    def build(self, kind: str, table: Any, prefix: str | None = None) -> Built:
        """Make one component.

        Args:
            kind: Its kind.
            table: ``{"use": name, option: value, ...}``, a name, a class, a function or a live object.
            prefix: What stands before its options on the command line, for messages; empty for one that cannot be
                reached from there. By default it is that of a component of a run.

        Raises:
            UsageError: For an unknown name, option or value, or when something that it needs is missing.
        """
        options = dict(table) if isinstance(table, Mapping) else {"use": table}
        if "use" not in options:
            raise UsageError(f"{kind}: its options ({', '.join(options)}) are given, but not which {kind}; say 'use'")
        use = options.pop("use")
        if isinstance(use, Repeated):
            use = last_of(use, f"'{prefix or kind}'")
        if isinstance(use, NO_COMPONENT) or (isinstance(use, list) and prefix is not None):
            raise UsageError(
                f'{kind}: {use!r} is not the name of a component; write use = "NAME"\n  see: wf list {kind}'
            )
        entry = self.entry(kind, use)
        if entry is None:
            if options:
                raise UsageError(f"{kind}: {use!r} is a finished object and takes no options ({', '.join(options)})")
            live = Built(use, None)
            self._live.add(live.table()["use"])
            return live
        if use == SCOPED and kind in self.scopes:
            return self._build_scopes(kind, entry, options)
        if prefix is None:
            prefix = option_prefix(kind, use if isinstance(use, str) else entry.component.name)
        with self.values.asking(f"{kind} '{entry.component.name}'"):
            arguments, chosen = self._arguments(entry, options, prefix, checked(table, entry))
            value = self._call(entry, arguments)
        self.made.append(entry)
        return Built(value, entry, chosen, self.registry.is_ambiguous(entry.component))

    def _build_scopes(self, kind: str, entry: Entry, tables: Mapping[str, Any]) -> Built:
        """Build the components of all scopes of a kind, each with its own run values and random numbers."""
        made = {}
        for name, table in check_options(entry, tables, self.params(entry)).items():
            scope = f"{kind}.{name}"
            with self.values.apart(scope), self.values.within(self.within.get(scope, {})):
                made[name] = self.build(kind, table, scope)
        values: Any = {name: one.value for name, one in made.items()}
        if together := KINDS[kind].together:
            module, _, attribute = together.partition(":")
            values = getattr(import_module(module), attribute)(values)
        return Built(values, entry, {name: one.table() for name, one in made.items()}, scopes=made)

    def options(self, entry: Entry, table: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Those of some options that an entry has, as its target gets them from a table, defaults included.

        Raises:
            UsageError: For an unknown option or a value that does not fit.
        """
        params, known = self.params(entry), checked(table, entry)
        own = {name: value for name, value in table.items() if name != "use"}
        given, done = (known.options, known.converted) if known else (check_options(entry, own, params), ())
        owner = f"{entry.component.kind} '{entry.component.name}'"
        return {
            name: self._given(param, given[name], owner, "", is_converted=name in done)[0]
            if name in given
            else param.default
            for name, param in ((param.name, param) for param in params if param.name in names)
            if name in given or param.default is not REQUIRED
        }

    def _arguments(
        self, entry: Entry, options: Mapping[str, Any], prefix: str, known: Checked | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments for the target, and the arguments that the user set."""
        component, params = entry.component, self.params(entry)
        owner = f"{component.kind} '{component.name}'"
        options, done = (known.options, known.converted) if known else (check_options(entry, options, params), ())
        arguments: dict[str, Any] = {}
        chosen: dict[str, Any] = {}
        for param in with_names(params, options):
            if param.name in options:
                place = prefix and f"{prefix}.{param.name}"
                arguments[param.name], chosen[param.name] = self._given(
                    param, options[param.name], owner, place, is_converted=param.name in done
                )
            elif param.source is not None:
                self._fill(entry, param, arguments, owner)
            elif param.default is REQUIRED:
                raise UsageError("\n  ".join([_missing(param, owner, prefix), *_what_it_makes(entry)]))
            elif entry.plugin is not None:
                arguments[param.name] = param.default
                if _is_plain(param.default):  # a run file cannot hold others
                    chosen[param.name] = param.default
        return arguments, chosen

    def _given(
        self, param: Param, value: Any, owner: str, prefix: str, *, is_converted: bool = False
    ) -> tuple[Any, Any]:
        """The value for the target and the value for the run file."""
        value = value if is_converted else without_null(value)
        if param.kind is not None and value is not None:
            return self._nested(param.kind, value, owner, prefix, several=takes_several(param.type))
        converted = value if is_converted else convert(param, value, owner)
        if isinstance(converted, Path):
            converted = locate(converted, self.folders)
        return converted, converted

    def _nested(self, kind: str, value: Any, owner: str, prefix: str, *, several: bool) -> tuple[Any, Any]:
        """A component of a component, or a list of them, and its table for the run file."""
        if several:
            made = [self._nested(kind, one, owner, "", several=False) for one in listed(kind, value, owner)]
            return [one for one, _ in made], [table for _, table in made]
        with self.values.within(self.within.get(prefix, {})), _naming_options(kind, prefix):
            nested = self.build(kind, value, prefix)
        if nested.entry is not None:
            note_traits(nested.value, nested.entry.component.traits)
        return nested.value, nested.table()

    def _own_code(self, use: str) -> str:
        """``path.py:Attr`` with the path of the existing file."""
        path, colon, attribute = use.rpartition(":")
        return f"{locate(Path(path), self.folders)}:{attribute}" if colon and is_path(path) else use

    def _fill(self, entry: Entry, param: Param, arguments: dict[str, Any], owner: str) -> None:
        assert param.source is not None
        optional = _is_optional(param)
        if optional and self.values.comes_later(param.source):
            if param.default is REQUIRED:
                arguments[param.name] = None
        elif self.values.provides(param.source):
            arguments[param.name] = self.values.need(param.source)
        elif not optional:
            lines = [f"{owner} needs '{param.source}', which this run does not know"]
            lines += [f"asked for by {self.values.chain()}"] if self.values.chain() else []
            lines += [self._how_to_provide(param.source)]
            settable = entry.component.kind in KINDS and VALUES[param.source].is_written
            lines += [f"or set it: {param.name}"] if settable else []
            raise UsageError("\n  ".join(lines))
        elif param.default is REQUIRED:
            arguments[param.name] = None

    def check_all_asked(self) -> None:
        """Refuse a component of the run file, of a kind that a plugin brought, that nothing in the run takes.

        Raises:
            UsageError: Naming it.
        """
        for kind in KINDS.contributed.values():
            if self._plan.get(kind.name) and kind.name not in self.contributed:
                raise UsageError(
                    f"{kind.name} is given, and nothing in this run takes one\n"
                    f"  a component or a run value takes it by a parameter named '{kind.value}'"
                )

    def conditions(self) -> dict[str, Any]:
        """The current values of plugins' conditions by name, see `wf.declarations.conditions.Condition`."""
        found = {}
        for entry in self.registry.entries("condition"):
            title = f"condition '{entry.component.name}' of {origin_of(entry)}"
            try:
                with self.values.asking(title):
                    found[entry.component.name] = self._make_value(entry)
            except FAILURES as error:
                _LOG.warning("%s cannot be read, so it will not be compared: %s", title, describe(error))
        return found

    def states(self, without: Iterable[Any]) -> dict[str, Any]:
        """The plugins' run values that have a state, by ``value/NAME``.

        Args:
            without: Modules whose state is saved otherwise.
        """
        known = {id(one) for one in without}
        found: dict[str, Any] = {}
        for name in self.values.made:
            value = self.values[name]
            for number, one in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(one, Stateful) and id(one) not in known and one.state_dict():
                    found[f"value/{name}" if one is value else f"value/{name}/{number}"] = one
        return found

    def _provider(self, name: str) -> Provider | None:
        """Who makes a run value that is not known yet: a component of a kind that a plugin brought, or a function."""
        if (own := self._find_of_run(name)) is not None:
            return own
        for kind in KINDS.contributed.values():
            if kind.value == name and (tables := self._tables(kind)):
                needs = tuple(param.source or "" for table in tables for param in self._needs_of(kind.name, table))
                return Provider(self._title(kind), partial(self._make_contributed, kind), needs)
        if not self.registry.has("value", name):
            return None
        entry = self.registry.find("value", name)
        needs = tuple(param.source or "" for param in self._needs(entry, {}))
        return Provider(f"run value '{name}' of {origin_of(entry)}", partial(self._make_value, entry), needs)

    def settle(self, kind: str, table: Mapping[str, Any]) -> None:
        """Make the run values that the component of a table needs, so that making it draws no other random numbers."""
        entry = self.entry(kind, table["use"])
        with self.values.asking(f"{kind} '{entry.component.name}'") if entry else nullcontext():
            for param in self._needs_of(kind, table):
                name = param.source or ""
                if self.values.comes_later(name):
                    continue
                if self.values.provides(name):
                    self.values.need(name)
                elif not _is_optional(param):
                    return  # making it says so

    def _needs_of(self, kind: str, table: Any) -> Iterator[Param]:
        """The parameters of the component of a table, and of those nested in it, that run values are filled into."""
        options = dict(table) if isinstance(table, Mapping) else {"use": table}
        use = options.pop("use", None)
        if use is None or isinstance(use, (*NO_COMPONENT, Repeated, list)) or (use == SCOPED and kind in self.scopes):
            return
        if (entry := self.entry(kind, use)) is not None:
            yield from self._needs(entry, options)

    def _needs(self, entry: Entry, options: Mapping[str, Any]) -> Iterator[Param]:
        given = current_options(entry.component, options)
        for param in with_names(self.params(entry), given):
            value = given.get(param.name)
            if param.kind is not None and value is not None:
                for one in value if takes_several(param.type) and isinstance(value, (list, tuple)) else [value]:
                    yield from self._needs_of(param.kind, one)
            elif param.name not in given and param.source is not None:
                yield param

    def _tables(self, kind: Kind) -> Sequence[Any]:
        """The tables of the run file for the components of a kind that a plugin brought."""
        value = self._plan.get(kind.name)
        if not kind.several and not (value and "use" in value) and (name := self._default_of(kind)):
            return [{"use": name, **(value or {})}]
        return value if isinstance(value, list) else [value] if value else []

    def _default_of(self, kind: Kind) -> str | None:
        """The default component of a plugin's kind: that of the run's task, else the declared one."""
        task = self._plan.get("task")
        if not task and isinstance(dataset := self._plan.get("dataset"), Mapping):
            entry = self.entry("dataset", dataset["use"])
            task = getattr(entry.component.traits, "task", None) if entry else None
        declared = self.registry.find("task", task).component.traits if task else None
        name = declared.default(kind.name) if isinstance(declared, Task) else None
        return self.registry.own_choice(kind.name, name) if name else default_of(self.registry, kind.name)

    def _title(self, kind: Kind) -> str:
        """The components of a kind as messages call them: ``anchor-generator 'grid' of wf-boxes``."""
        uses = [table["use"] if isinstance(table, Mapping) else table for table in self._tables(kind)]
        entries = [self.entry(kind.name, use) for use in uses]
        names = [f"'{entry.component.name}' of {origin_of(entry)}" if entry else "of one's own" for entry in entries]
        return f"{kind.plural if len(names) > 1 else kind.name} {' and '.join(names)}"

    def _make_contributed(self, kind: Kind) -> Any:
        made = [self.build(kind.name, table) for table in self._tables(kind)]
        self.contributed[kind.name] = made if kind.several else made[0]
        tables = [built.table() for built in made]
        self._plan[kind.name] = tables if kind.several else tables[0]
        return [built.value for built in made] if kind.several else made[0].value

    def _make_value(self, entry: Entry) -> Any:
        arguments, _ = self._arguments(entry, {}, "")
        return self._call(entry, arguments)

    def _how_to_provide(self, name: str) -> str:
        """Advice about a run value without a provider."""
        for kind in KINDS.contributed.values():
            if kind.value == name:
                available = ", ".join(self.registry.names(kind.name)) or "none is installed"
                return f"name one: --{kind.name} NAME (available: {available})"
        return _why_unknown(name, self.values)

    def _call(self, entry: Entry, arguments: dict[str, Any]) -> Any:
        target, component = entry.load(), entry.component
        if is_function_loss(component, target):
            return partial(target, *component.args, **arguments) if component.args or arguments else target
        try:
            return target(*component.args, **arguments)
        except WfError:
            raise
        except FAILURES as error:
            blame(error, f"{component.kind} '{component.name}' of {origin_of(entry)}, while it is made")
            raise


@contextlib.contextmanager
def _naming_options(kind: str, prefix: str) -> Iterator[None]:
    """Let the errors of a nested component name its options as they are written there: ``--validation.night.path``."""
    try:
        yield
    except WfError as error:
        if prefix and error.args:
            error.args = (str(error).replace(f"--{kind}.", f"--{prefix}."), *error.args[1:])
        raise


def _is_optional(param: Param) -> bool:
    """Whether a component can do without the run value that is filled into a parameter."""
    return param.default is not REQUIRED or allows_none(param.type)


def _makes(kind: str, use: Any) -> bool:
    """Whether a live class or function makes the component; a partial of a loss or transform is one already."""
    if isinstance(use, partial):
        return inspect.isclass(use.func) or kind not in ("loss", "transform")
    return inspect.isclass(use) or inspect.isroutine(use)


def origin_of(entry: Entry | None) -> str:
    """The plugin of a component, or the user's file or module."""
    if entry is None or entry.plugin is not None:
        return entry.provider if entry else "own code"
    target = entry.component.target
    return target.rpartition(":")[0] if isinstance(target, str) else "own code"


def name_of_live(value: Any) -> str:
    """The name of a live object in messages and in the run directory's name."""
    return "data" if isinstance(value, (tuple, list)) else type(value).__name__


def check_options(entry: Entry, options: Mapping[str, Any], params: tuple[Param, ...]) -> dict[str, Any]:
    """The options under the names that they have now.

    Raises:
        UsageError: For an unknown option, suggesting the closest ones.
    """
    component = entry.component
    current = current_options(component, options)
    _check_misplaced(current, params, component.kind)
    see = f"{component.kind} {component.name}" if entry.plugin else ""
    check_known(list(current), params, f"{component.kind} '{component.name}'", see)
    return current


def _check_misplaced(options: Mapping[str, Any], params: tuple[Param, ...], kind: str) -> None:
    """Explain a general key below a table."""
    for name in options:
        if name in GENERAL and name not in {param.name for param in params}:
            raise UsageError(
                f"'{name}' is a general key, not an option of the {kind}\n"
                f"  in a run file a key belongs to the [table] above it: move '{name}' above the first table\n"
                f"  on the command line it is --{name.replace('_', '-')}"
            )


def _is_plain(value: Any) -> bool:
    """Whether a run file can hold the value and return it unchanged."""
    if isinstance(value, str):
        return not value.startswith(LIVE)
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or (isinstance(value, (bool, int, float, Path, date, time)) and not isinstance(value, Enum))


def listed(kind: str, value: Any, owner: str) -> Sequence[Any]:
    """The components that an option for several has.

    Raises:
        UsageError: Where it is not a list.
    """
    if not isinstance(value, (list, tuple)):
        raise UsageError(f'{owner}: a list of {kind}s is wanted, as \'[{{use = "NAME"}}, {{use = "NAME"}}]\'')
    return value


_TRAITS: weakref.WeakKeyDictionary[Any, Traits | None] = weakref.WeakKeyDictionary()


def traits_of(value: Any) -> Traits | None:
    """The traits of a component that was built for another one; None if unknown."""
    try:
        return _TRAITS.get(value)
    except TypeError:  # it cannot be a key
        return None


def note_traits(value: Any, traits: Any) -> None:
    """Keep them beside the object, not on it: many take every attribute for state."""
    with contextlib.suppress(TypeError):
        _TRAITS[value] = traits


def _missing(param: Param, owner: str, prefix: str) -> str:
    lines = [f"{owner} needs option '{param.name}'{f': --{prefix}.{param.name} VALUE' if prefix else ', in its table'}"]
    if param.help:
        lines.append(f"{param.name}: {param.help}")
    return "\n  ".join(lines)


def _what_it_makes(entry: Entry) -> list[str]:
    """Advice for a user's function that was meant as the component itself, but is called to make it."""
    kind = entry.component.kind
    if entry.plugin is not None or not inspect.isroutine(entry.load()):
        return []
    objects = f", {KINDS[kind].objects}" if KINDS[kind].objects else ""
    return [
        f"the function is called with its options to make the {kind}{objects}",
        "a parameter that is named like a run value, as params or optimizer, is filled in: wf list values",
    ]


def _why_unknown(source: str, values: Mapping[str, Any]) -> str:
    targets = values.get("dataset_targets")
    if "data" not in values and "strategy" in values:
        return "the run has no dataset: its trainer makes the samples itself, and its run_values may say more of them"
    if source == "class_counts" and "num_classes" in values:
        return "the classes of samples that are not held in memory are not counted"
    if source in ("num_classes", "class_names", "class_counts") and targets is not None:
        return f"the dataset has {targets} targets, so there are no classes"
    if source in ("input_shape", "num_features") and "data" in values:
        return "a sample's input is several tensors, each of its own shape: take a model that takes them by name"
    known = sorted(name for name in values if name in VALUES)
    return f"known here: {', '.join(known)}" if known else "there is no run here that knows anything"
