"""A run under construction: its run file, the plugins, the parts so far, and messages to the user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wf.declarations.general import value_settings
from wf.discovery.entry import Entry
from wf.engine.cadence import Every
from wf.errors import UsageError
from wf.protocols import Stateful
from wf.registry import Registry
from wf_base.random import own_stream
from wf_building.builder import Builder
from wf_building.built import Built, name_of_live
from wf_building.resolver import RUN, Find
from wf_fitting.judged import Judged
from wf_run.description import read_description, read_sample_ids
from wf_run.parts.groups import Made as Group
from wf_run.planning.plan import Prepared
from wf_run.runfiles.runfile import RunFile
from wf_storage.folders import data_dir


class RunBuild:
    """A run under construction, shared by the providers of its values.

    Args:
        plan: The run file, as `wf_run.planning.plan.prepare` gives it.
        registry: Where names are looked up.
        find: Finds the provider of a value that the run itself provides.
        run_dir: As for `wf_run.assembly.Assembly`, like all others.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        registry: Registry,
        find: Find,
        *,
        run_dir: Path | None,
        default_name: str,
        subfolder: str,
        save: bool,
        folders: Sequence[Path],
        quiet: bool,
        initialize: bool,
        learned_in: Path | None,
    ) -> None:
        self.registry = registry
        self.asked_dir, self.default_name, self.subfolder = run_dir, default_name, subfolder
        self.save, self.quiet, self.initialize = save, quiet, initialize
        self.messages: list[str] = []
        """Messages about the choices made for the user."""
        self.built: dict[str, Built | list[Built]] = {}
        """The components, by kind."""
        self._entries: dict[str, tuple[Any, Entry | None]] = {}
        self._tables: dict[str, Any] = {}
        """The tables of the components, as they were before they were built."""
        self.plan: RunFile = dict(plan)
        """The run file; complete when everything is built."""
        self.before = None if learned_in is None else read_description(learned_in)
        """The description of the run's data; None for a new run."""
        self.ids_before = {} if learned_in is None else read_sample_ids(learned_in)
        self.judged = plan.judged if isinstance(plan, Prepared) else Judged()
        """The verdicts of the fitting rules."""
        self.left_out = plan.left_out if isinstance(plan, Prepared) else {}
        """By kind the components of a run by default that a list of this run leaves out."""
        self.resumes_exactly = True
        """Whether a resumed run is certain to get the same samples."""
        self.init_from: dict[str, str] | None = None
        """The source of the initial weights, and their checksum; None for random weights."""
        self.stateful_samples: Stateful | None = None
        """The train samples, if they have a state."""
        self.reader: Any = None
        """The reader for files in the dataset's format, or None."""
        self.names: dict[str, tuple[str, ...]] = {}
        """The classes and columns of the data."""
        self.not_trained: list[torch.nn.Module] = []
        """The parts of the model that stay in evaluation mode."""
        self.groups: list[tuple[str, Group]] = []
        """The groups of parameters that the run file asks for, each with the optimizer's name."""
        self.on_error: dict[str, str] = {}
        """The failure policy of each hook by name."""
        self.eval_every, self.checkpoint_every = self._every("eval_every"), self._every("checkpoint_every")
        self.builder = Builder(
            registry,
            {"seed": self.plan["seed"], "data_dir": data_dir(), "learned": self.before and self.before.learned},
            folders,
            self.plan,
            partial(own_stream, self.plan["seed"]),
            find,
        )
        self.values = self.builder.values
        """The run values, with their providers and askers."""
        for name, param in value_settings().items():
            self.values[name] = self.plan.setdefault(name, param.default)

    def make(self, kind: str) -> Any:
        """Make the component of a kind and put its resolved table into the run file."""
        made = self.builder.build(kind, self.plan[kind])
        self._tables.setdefault(kind, self.plan[kind])
        self.built[kind], self.plan[kind] = made, made.table()
        return made.value

    def make_many(self, kind: str, tables: Sequence[Any]) -> list[Built]:
        """Build the components of a kind that may have several."""
        made = [self.builder.build(kind, table) for table in tables]
        names = [built.name for built in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice and kind != "transform":
            owners = {built.entry.provider for built in made if built.name == twice and built.entry}
            why = (
                f", of {' and '.join(sorted(owners))}: a run has only one {kind} of each name"
                if len(owners) > 1
                else ""
            )
            raise UsageError(f"{kind} '{twice}' is named twice{why}")
        self._tables.setdefault(kind, self.plan[kind])
        self.built[kind], self.plan[kind] = made, [built.table() for built in made]
        return made

    def as_asked(self) -> RunFile:
        """The run file with its original tables, including classes and live objects."""
        return {**self.plan, **self._tables}

    def take(self, kind: str, **values: Any) -> None:
        """Keep run values that come with the component of a kind, or with the task."""
        self.values.take(self.title(kind), values)

    def title(self, kind: str) -> str:
        """The component of a kind as provider of run values, for messages."""
        if kind == "task":
            task = self.values.get("run.task")
            return f"task '{task.name}'" if task else "the dataset's targets"
        if isinstance(made := self.built.get(kind), list):
            return f"{kind}s {', '.join(repr(one.name) for one in made)}"
        return f"{kind} '{self.name(kind)}'" if kind in self.plan else RUN

    def name(self, kind: str) -> str:
        """The name of the component of a kind."""
        made = self.built.get(kind)
        if isinstance(made, Built):
            return made.name
        entry = self.entry(kind)
        return entry.component.name if entry else name_of_live(self.plan[kind]["use"])

    def several(self, kind: str) -> list[Built]:
        """The components of a kind that allows several."""
        made = self.built[kind]
        assert isinstance(made, list)
        return made

    def all(self) -> Iterator[Built]:
        """Every component."""
        for made in self.built.values():
            yield from made if isinstance(made, list) else [made]

    def is_live(self, kind: str) -> bool:
        """Whether the component of a kind was given as a finished object."""
        made = self.built.get(kind)
        return isinstance(made, Built) and made.entry is None

    def entry(self, kind: str) -> Entry | None:
        """The entry of the component of a kind; None for a finished object."""
        made, use = self.built.get(kind), self.plan[kind]["use"]
        if isinstance(made, Built):
            return made.entry
        if kind not in self._entries or self._entries[kind][0] is not use:
            self._entries[kind] = use, self.builder.entry(kind, use)
        return self._entries[kind][1]

    def traits(self, kind: str) -> Any:
        """The traits of the component of a kind."""
        entry = self.entry(kind)
        return entry.component.traits if entry else None

    def wanted_by(self, kind: str) -> set[str | None]:
        """The run values that the component of a kind takes."""
        entry = self.entry(kind)
        return {param.source for param in self.builder.params(entry)} if entry else {"optimizer", "scheduler"}

    def of_the_first(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Figures of the first process, on every process."""
        return dict(json.loads(self.text_of_the_first(json.dumps(figures))))

    def text_of_the_first(self, text: str) -> str:
        """A string of the first process, on every process."""
        strategy = self.values.need("strategy")
        if strategy.world_size == 1:
            return text
        own = text.encode() if strategy.rank == 0 else b""
        found = strategy.gather(torch.tensor(list(own), dtype=torch.uint8, device=strategy.device))
        return bytes(found.tolist()).decode()

    def _every(self, key: str) -> Every | None:
        return None if self.plan[key] is None else Every.parse(self.plan[key])


def traits_of(built: Built) -> Any:
    """The traits of a built component."""
    return built.entry.component.traits if built.entry else None
