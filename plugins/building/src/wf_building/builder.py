"""Builds components: converts options, fills in run values, builds nested components first."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from wf.blame import FAILURES, blame
from wf.declarations.component import REQUIRED, Param
from wf.declarations.kinds import KINDS, option_prefix
from wf.declarations.values import VALUES
from wf.discovery.entry import Entry, entry_of
from wf.discovery.modules import describe, import_module, is_path, locate
from wf.errors import UsageError, WfError
from wf.parameters import (
    convert,
    is_function_loss,
    parameters,
    takes_several,
    with_names,
    without_null,
)
from wf.protocols import Stateful
from wf.registry import Registry
from wf.typed import Repeated, last_of
from wf_building.built import LIVE, Built, is_plain, note_traits, origin_of
from wf_building.checked import Checked, checked
from wf_building.on_demand import NO_COMPONENT, OnDemand, is_optional
from wf_building.options import as_list, check_options, missing
from wf_building.resolver import Find, Resolver
from wf_building.scopes import SCOPED, entry_of_scopes, scopes_of

_LOG = logging.getLogger("wf")


class Builder:
    """Makes components from tables, with the values that the run knows so far.

    Args:
        registry: Where names are looked up.
        values: The run values known so far, by the names of `wf.declarations.values.VALUES`; they grow as the run is
            built.
        folders: Where relative paths are looked up when they are not below the working directory.
        plan: The run file, for the components of kinds that are made on demand; their tables are resolved there.
        apart: Called with a run value's name; returns a context that gives its provider a separate random stream.
        find: Finds the provider of a value that the run itself provides.
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
        self._plan = {} if plan is None else plan
        self.on_demand = OnDemand(self, self._plan, find)
        """Makes what is made when something asks for it."""
        self.values = Resolver(values, self.on_demand.provider, apart)
        self.within: dict[str, Mapping[str, Any]] = {}
        """The run values of a scope or a nested component, such as ``optimizer.generator``."""
        self._scopes: Mapping[str, tuple[str, ...]] | None = None
        self._live: set[str] = set()
        """The placeholders of live objects in the plan."""
        self.made: list[Entry] = []
        """The components built so far, nested ones included."""

    def entry(self, kind: str, use: Any) -> Entry | None:
        """The entry behind a name, class or function; None for a live object."""
        if isinstance(use, str) and use in self._live:
            return None
        if isinstance(use, str) and use.startswith(LIVE):
            raise UsageError(
                f"{kind}: this run used a live object ({use.removeprefix(LIVE)}), which cannot be rebuilt from its "
                "file\n"
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
        if self._scopes is None:  # once: the plan later names the trainer instead of holding it
            self._scopes = scopes_of(self.entry("trainer", use))  # a live object has none
        return self._scopes

    def params(self, entry: Entry) -> tuple[Param, ...]:
        """The options of an entry."""
        return parameters(entry.component, entry.described)

    def build(self, kind: str, table: Any, prefix: str | None = None) -> Built:
        """Make one component.

        Args:
            kind: Its kind.
            table: ``{"use": name, option: value, ...}``, a name, a class, a function or a live object.
            prefix: The prefix of its options on the command line, for messages; empty if they cannot be set there. By
                default the prefix of a run's component.

        Raises:
            UsageError: For an unknown name, option or value, or a missing run value.
        """
        options = dict(table) if isinstance(table, Mapping) else {"use": table}
        if "use" not in options:
            raise UsageError(f"{kind}: its options ({', '.join(options)}) are given, but no {kind} is named; add 'use'")
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
            arguments, chosen = self.arguments(entry, options, prefix, checked(table, entry))
            value = self.call(entry, arguments)
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
        """The options of an entry among `names`, converted from a table, defaults included.

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

    def arguments(
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
                raise UsageError("\n  ".join([missing(param, owner, prefix), *_what_it_makes(entry)]))
            elif entry.plugin is not None:
                arguments[param.name] = param.default
                if is_plain(param.default):  # a run file cannot hold other defaults
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
        if not several:
            return self._one(kind, value, prefix)
        made = [self._one(kind, one, "") for one in as_list(kind, value, owner)]
        return [one for one, _ in made], [table for _, table in made]

    def _one(self, kind: str, value: Any, prefix: str) -> tuple[Any, Any]:
        with self.values.within(self.within.get(prefix, {})), _naming_options(kind, prefix):
            nested = self.build(kind, value, prefix)
        if nested.entry is not None:
            note_traits(nested.value, nested.entry.component.traits)
        return nested.value, nested.table()

    def _own_code(self, use: str) -> str:
        """``path.py:Attr`` with the path where the file was found."""
        path, colon, attribute = use.rpartition(":")
        return f"{locate(Path(path), self.folders)}:{attribute}" if colon and is_path(path) else use

    def _fill(self, entry: Entry, param: Param, arguments: dict[str, Any], owner: str) -> None:
        assert param.source is not None
        optional = is_optional(param)
        if optional and self.values.comes_later(param.source):
            if param.default is REQUIRED:
                arguments[param.name] = None
        elif self.values.provides(param.source):
            arguments[param.name] = self.values.need(param.source)
        elif not optional:
            lines = [f"{owner} needs '{param.source}', which this run does not know"]
            lines += [f"asked for by {self.values.chain()}"] if self.values.chain() else []
            lines += [self.on_demand.how_to_provide(param.source)]
            settable = entry.component.kind in KINDS and VALUES[param.source].is_written
            lines += [f"or set it: {param.name}"] if settable else []
            raise UsageError("\n  ".join(lines))
        elif param.default is REQUIRED:
            arguments[param.name] = None

    def conditions(self) -> dict[str, Any]:
        """The current values of plugins' conditions by name, see `wf.declarations.conditions.Condition`."""
        found = {}
        for entry in self.registry.entries("condition"):
            title = f"condition '{entry.component.name}' of {origin_of(entry)}"
            try:
                with self.values.asking(title):
                    found[entry.component.name] = self.on_demand.make_value(entry)
            except FAILURES as error:
                _LOG.warning("%s cannot be read, so it will not be compared: %s", title, describe(error))
        return found

    def states(self, without: Iterable[Any]) -> dict[str, Any]:
        """The plugins' run values that have a state, by ``value/NAME``.

        Args:
            without: Modules whose state is saved elsewhere.
        """
        known = {id(one) for one in without}
        found: dict[str, Any] = {}
        for name in self.values.made:
            value = self.values[name]
            for number, one in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(one, Stateful) and id(one) not in known and one.state_dict():
                    found[f"value/{name}" if one is value else f"value/{name}/{number}"] = one
        return found

    def call(self, entry: Entry, arguments: dict[str, Any]) -> Any:
        """Call the target of an entry."""
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
    """Make errors of a nested component name its options with their full prefix: ``--validation.night.path``."""
    try:
        yield
    except WfError as error:
        if prefix and error.args:
            below = prefix.removeprefix(f"{kind}.")  # --scheduler.then. has its prefix already, unlike --scheduler.
            short = re.compile(rf"--{re.escape(kind)}\.(?!{re.escape(below)}\.)")
            error.args = (short.sub(lambda _: f"--{prefix}.", str(error.args[0])), *error.args[1:])
        raise


def _makes(kind: str, use: Any) -> bool:
    """Whether a live class or function is called to make the component; a partial of a loss or transform is the
    component itself."""
    if isinstance(use, partial):
        return inspect.isclass(use.func) or kind not in ("loss", "transform")
    return inspect.isclass(use) or inspect.isroutine(use)


def _what_it_makes(entry: Entry) -> list[str]:
    """Advice for a user's function that was meant to be the component, but is called to make it."""
    kind = entry.component.kind
    if entry.plugin is not None or not inspect.isroutine(entry.load()):
        return []
    objects = f", {KINDS[kind].objects}" if KINDS[kind].objects else ""
    return [
        f"the function is called with its options to make the {kind}{objects}",
        "a parameter named like a run value, such as params or optimizer, is filled in: wf list values",
    ]
