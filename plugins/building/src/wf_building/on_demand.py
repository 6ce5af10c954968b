"""What is made when something in a run asks for it: components of most kinds, and the run values of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from wf.declarations.component import REQUIRED, Param
from wf.declarations.kinds import KINDS, Kind
from wf.declarations.task import Task
from wf.declarations.values import VALUES
from wf.discovery.deprecation import current_options
from wf.discovery.entry import Entry
from wf.errors import UsageError
from wf.parameters import allows_none, takes_several, with_names
from wf_building.built import Built, origin_of
from wf_building.defaults import default_of
from wf_building.resolver import Find, Provider
from wf_building.scopes import SCOPED

if TYPE_CHECKING:
    from wf_building.builder import Builder

NO_COMPONENT = (bool, int, float, bytes, date)
"""What a run file may hold, or a line may say, and what is no component in Python either."""


class OnDemand:
    """Finds the providers of run values, and makes the components among them.

    Args:
        builder: Makes components.
        plan: The run file; the tables of components that are made are resolved there.
        find: Finds the provider of a value that the run itself brings.
    """

    def __init__(self, builder: Builder, plan: dict[str, Any], find: Find) -> None:
        self._builder, self._registry, self._plan, self._find = builder, builder.registry, plan, find
        self.made: dict[str, Built | list[Built]] = {}
        """The components of kinds that are made on demand."""

    def check_all_asked(self) -> None:
        """Refuse a component of the run file, of a kind that is made on demand, that nothing in the run takes.

        Raises:
            UsageError: Naming it.
        """
        for kind in KINDS.on_demand.values():
            if self._plan.get(kind.name) and kind.name not in self.made:
                raise UsageError(
                    f"{kind.name} is given, but nothing in this run takes one\n"
                    f"  a component or a run value takes it by a parameter named '{kind.value}'"
                )

    def provider(self, name: str) -> Provider | None:
        """Who makes a run value that is not known yet: a component of a kind that is made on demand, or a function."""
        if (own := self._find(name)) is not None:
            return own
        for kind in KINDS.on_demand.values():
            if kind.value == name and (tables := self._tables(kind)):
                needs = tuple(source for table in tables for source, _ in self._needs_of(kind.name, table))
                return Provider(self._title(kind), partial(self._make_on_demand, kind), needs)
        if not self._registry.has("value", name):
            return None
        entry = self._registry.find("value", name)
        needs = tuple(source for source, _ in self._needs(entry, {}))
        return Provider(f"run value '{name}' of {origin_of(entry)}", partial(self.make_value, entry), needs)

    def settle(self, kind: str, table: Mapping[str, Any]) -> None:
        """Make the run values that the component of a table needs, so that making it draws no other random numbers."""
        entry = self._builder.entry(kind, table["use"])
        with self._builder.values.asking(f"{kind} '{entry.component.name}'") if entry else nullcontext():
            for name, param in self._needs_of(kind, table):
                if self._builder.values.comes_later(name):
                    continue
                if self._builder.values.provides(name):
                    self._builder.values.need(name)
                elif not is_optional(param):
                    return  # making it says so

    def _needs_of(self, kind: str, table: Any) -> Iterator[tuple[str, Param]]:
        """The run values that are filled into the component of a table, and into those nested in it, each with its
        parameter."""
        options = dict(table) if isinstance(table, Mapping) else {"use": table}
        use = options.pop("use", None)
        if use == SCOPED and kind in self._builder.scopes:
            return
        if (entry := self._builder.entry(kind, use)) is not None:
            yield from self._needs(entry, options)

    def _needs(self, entry: Entry, options: Mapping[str, Any]) -> Iterator[tuple[str, Param]]:
        given = current_options(entry.component, options)
        for param in with_names(self._builder.params(entry), given):
            value = given.get(param.name)
            if param.kind is not None and value is not None:
                for one in value if takes_several(param.type) and isinstance(value, (list, tuple)) else [value]:
                    yield from self._needs_of(param.kind, one)
            elif param.name not in given and param.source is not None:
                yield param.source, param

    def _tables(self, kind: Kind) -> Sequence[Any]:
        """The tables of the run file for the components of a kind that is made on demand."""
        value = self._plan.get(kind.name)
        if not kind.several and not (value and "use" in value) and (name := self._default_of(kind)):
            return [{"use": name, **(value or {})}]
        return value if isinstance(value, list) else [value] if value else []

    def _default_of(self, kind: Kind) -> str | None:
        """The default component of a kind: that of the run's task, else the declared one."""
        task = self._plan.get("task")
        if not task and isinstance(dataset := self._plan.get("dataset"), Mapping):
            entry = self._builder.entry("dataset", dataset["use"])
            task = getattr(entry.component.traits, "task", None) if entry else None
        declared = self._registry.find("task", task).component.traits if task else None
        name = declared.default(kind.name) if isinstance(declared, Task) else None
        return self._registry.own_choice(kind.name, name) if name else default_of(self._registry, kind.name)

    def _title(self, kind: Kind) -> str:
        """The components of a kind as messages call them: ``anchor-generator 'grid' of wf-boxes``."""
        uses = [table["use"] if isinstance(table, Mapping) else table for table in self._tables(kind)]
        entries = [self._builder.entry(kind.name, use) for use in uses]
        names = [f"'{entry.component.name}' of {origin_of(entry)}" if entry else "of one's own" for entry in entries]
        return f"{kind.plural if len(names) > 1 else kind.name} {' and '.join(names)}"

    def _make_on_demand(self, kind: Kind) -> Any:
        made = [self._builder.build(kind.name, table) for table in self._tables(kind)]
        self.made[kind.name] = made if kind.several else made[0]
        tables = [built.table() for built in made]
        self._plan[kind.name] = tables if kind.several else tables[0]
        return [built.value for built in made] if kind.several else made[0].value

    def make_value(self, entry: Entry) -> Any:
        """Make a run value, or read a condition, with the run values that its parameters are named after."""
        return self._builder.call(entry, self._builder.arguments(entry, {}, "")[0])

    def how_to_provide(self, name: str) -> str:
        """Advice about a run value without a provider."""
        for kind in KINDS.on_demand.values():
            if kind.value == name:
                available = ", ".join(self._registry.names(kind.name)) or "none is installed"
                return f"name one: --{kind.name} NAME (available: {available})"
        return _why_unknown(name, self._builder.values)


def is_optional(param: Param) -> bool:
    """Whether a component can do without the run value that is filled into a parameter."""
    return param.default is not REQUIRED or allows_none(param.type)


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
    if not known:
        return "there is no run here that knows anything"
    return f"known here: {', '.join(known)}\n  nobody provides it in this run; see: wf show value {source}"
