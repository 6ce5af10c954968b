"""Completes and checks a run's components by name, before anything heavy is imported.

Only facts from the dataset's data (its targets, its number of samples) are left to `wf_run.experiment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.discovery.entry import Entry
from wf.engine.figures import SPLITS, Monitor, divided
from wf.errors import UsageError, closest, unknown
from wf.registry import Registry
from wf.traits import SchedulerTraits
from wf_building.builder import Builder
from wf_building.built import LIVE, name_of_live
from wf_building.defaults import SEVERAL, default_of, missing
from wf_building.scopes import SCOPED, scopes_of, with_scopes
from wf_fitting.checking import check as check_fit
from wf_fitting.judged import Judged
from wf_fitting.parts import Facts, Part, taken_by, with_parts
from wf_processes.together import num_processes
from wf_run.parts.data import validation
from wf_run.parts.data.dataset_file import read_dataset_file
from wf_run.parts.groups import Grouping
from wf_run.parts.wishes import with_wanted
from wf_run.planning.defaults import (
    default_kinds,
    default_lists,
    default_model,
    own_choices,
    task_of,
    traits_of_dataset,
    with_changes,
    with_defaults,
)
from wf_run.planning.names import check_names, full_name, name_in_list
from wf_run.planning.own_samples import without_dataset
from wf_run.runfiles import lists
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import RunFile, check, on_error_of
from wf_run.runfiles.said import naming_place
from wf_run.views.choosing import RUN, check_draws

NEEDED = ("dataset", "model", "optimizer", "trainer", "evaluator", "checkpointer", "strategy")
"""The required kinds of a run, unless its trainer makes the samples or takes no optimizer."""


class Prepared(dict[str, Any]):
    """A run file that is ready to be built, with the fitting verdicts so far; a copy is a plain dict."""

    judged: Judged
    left_out: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """By kind the components that a run has by default and that a list of the run file leaves out, as it replaces them:
    transforms that the dataset asks for, and hooks."""

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def prepare(document: Mapping[str, Any], registry: Registry, folders: Sequence[Path] = ()) -> RunFile:
    """Prepare a run file for building; one that cannot work is refused here, before torch is imported.

    Args:
        document: The merged run file.
        registry: Where names are looked up.
        folders: Where relative paths of the run file are looked up when they are not below the working directory.

    Returns:
        The run file with every default that does not depend on the data.

    Raises:
        UsageError: For an unknown key or name, or components that cannot fit together for any data.
    """
    with naming_place(document):
        return _prepared(document, registry, folders)


def _prepared(document: Mapping[str, Any], registry: Registry, folders: Sequence[Path]) -> RunFile:
    plan = Prepared(complete(document, registry, folders))
    plan.judged = Judged()
    plan.left_out = {
        kind: _left_out(document.get(kind), plan[kind], names, kind, registry)
        for kind, names in default_lists(plan, registry).items()
    }
    for table in plan.get("plot") or ():
        if _is_name(table):
            check_draws(registry.find("plot", table["use"]), RUN)
    parts = parts_of(with_defaults(plan, registry), Builder(registry, folders=folders, plan=plan).entry)
    evaluated = tuple(plan["eval_splits"])  # an upper bound: the data may have fewer splits
    check_fit(parts, Facts(links=plan["links"], evaluated=evaluated), registry, plan.judged, last=())
    return plan


def _left_out(
    asked: Any, chosen: Sequence[Mapping[str, Any]], default: Sequence[str], kind: str, registry: Registry
) -> tuple[str, ...]:
    """The defaults of a kind that a list which replaces them lacks; an empty list means it."""
    if not asked or lists.keeps(asked):
        return ()
    there = {registry.find(kind, table["use"]).component.name for table in chosen if _is_name(table)}
    return tuple(name for name in default if name not in there)


def _is_name(table: Any) -> bool:
    return isinstance(table["use"], str) and ":" not in table["use"]


def parts_of(
    plan: Mapping[str, Any], find: Callable[[str, Any], Entry | None], taken: frozenset[str] | None = None
) -> list[Part]:
    """The components of a run whose fit can be checked, in build order.

    Args:
        plan: The run file.
        find: Looks up the component of a kind and a name; None for a live object.
        taken: The run values that the trainer takes, if known. A default optimizer is left out if the trainer takes
            none, because the user did not choose it.
    """
    parts, contributed = [], list(KINDS.on_demand)
    for kind in (
        "task",
        "dataset",
        "transform",
        "model",
        "loss",
        "metric",
        "trainer",
        "optimizer",
        "scheduler",
        *contributed,
    ):
        value = plan.get(kind) or []
        value = {"use": value} if isinstance(value, str) else value
        for table in value if isinstance(value, list) else [value]:
            if table.get("use", SCOPED) == SCOPED:  # the traits of several named components are not combined
                continue
            entry = find(kind, table["use"])
            name = entry.component.name if entry else name_of_live(table["use"])
            parts.append(Part(kind=kind, name=name, entry=entry, watched=_watched(entry, table, plan["monitor"])))
    taken = with_parts(Facts(taken=taken), parts).taken
    own = not _is_default(plan.get("optimizer"), find) or taken is None or "optimizer" in taken
    return parts if own else [part for part in parts if part.kind != "optimizer"]


def _is_default(optimizer: Any, find: Callable[[str, Any], Entry | None]) -> bool:
    """Whether it is the default optimizer without options."""
    use = optimizer.get("use") if optimizer and len(optimizer) == 1 else None
    entry = find("optimizer", use) if isinstance(use, str) and ":" not in use else None
    return entry is not None and bool(entry.component.default)


def complete(document: Mapping[str, Any], registry: Registry, folders: Sequence[Path] = ()) -> RunFile:
    """A run file with every default filled in that does not depend on the data.

    Args:
        document: As for `prepare`.
        registry: As for `prepare`.
        folders: As for `prepare`.

    Raises:
        UsageError: For an unknown key or name.
    """
    document = resolve(document)
    plan = check({**{name: param.default for name, param in GENERAL.items()}, **document})
    for kind in KINDS.several:
        if lists.is_changed(plan.get(kind) or ()):
            added, there = (partial(find, kind, registry=registry) for find in (full_name, name_in_list))
            plan[kind] = lists.with_names(plan[kind], added, there)
    for link in plan["links"] or ():
        if not registry.has("link", link):
            raise UsageError(unknown("link", link, registry.names("link")))
    without = without_dataset(plan, registry, folders)
    _fill_scopes(plan, registry, folders)
    if (
        num_processes() > 1
        and "use" not in plan.get("strategy", {})
        and (own := default_of(registry, "strategy", SEVERAL))
    ):
        plan["strategy"] = {"use": own, **plan.get("strategy", {})}
    for kind in default_kinds():
        if kind not in (*without, "model") and "use" not in plan.get(kind, {}) and (name := default_of(registry, kind)):
            plan[kind] = {"use": name, **plan.get(kind, {})}
    _check_needed(plan, without, registry, folders)
    if "dataset" in plan:
        read_dataset_file(plan["dataset"], registry)
    for brought in KINDS.on_demand.values():
        table = plan.get(brought.name)
        if not brought.several and table and "use" not in table and (name := default_of(registry, brought.name)):
            plan[brought.name] = {"use": name, **table}
    if plan.get(validation.VALIDATION) and "dataset" in plan:
        plan[validation.VALIDATION] = validation.completed(plan[validation.VALIDATION], plan["dataset"], registry)
    traits = traits_of_dataset(plan, registry)
    task = task_of(plan, traits, registry)
    if "monitor" not in document and task and (monitor := task.default("monitor")):
        plan["monitor"] = monitor
    _check_monitor(plan["monitor"], registry)
    if "use" not in plan.get("model", {}):
        plan["model"] = {"use": default_model(traits, task, registry), **plan.get("model", {})}
    for kind, names in {
        **default_lists(plan, registry),
        **{kind.name: () for kind in KINDS.on_demand.values() if kind.several and kind.of_runs},
    }.items():
        asked = plan.get(kind)
        plan[kind] = with_changes(kind, asked, own_choices(registry, kind, names))
        if kind == "transform" and lists.keeps(asked):
            plan[kind] = with_wanted(plan[kind], plan["model"], registry)
    for table in plan["hook"]:
        on_error_of(table)
    for owner, table in _optimizers(plan):
        Grouping.read(table, owner)
    check_names(plan, registry)
    return plan


def _fill_scopes(plan: dict[str, Any], registry: Registry, folders: Sequence[Path]) -> None:
    """Fill in the tables of kinds for which the trainer declares scopes."""
    use = plan.get("trainer", {}).get("use")
    if use is None or (isinstance(use, str) and use.startswith(LIVE)):
        return
    entry = Builder(registry, folders=folders).entry("trainer", use)
    scopes = scopes_of(use if entry is None else entry)
    name = entry.component.name if entry else name_of_live(use)
    for kind, names in scopes.items():
        default = default_of(registry, kind) if kind == "optimizer" else None
        plan[kind] = with_scopes(kind, names, plan.get(kind, {}), name, default)


def _check_needed(
    plan: Mapping[str, Any], without: frozenset[str], registry: Registry, folders: Sequence[Path]
) -> None:
    """Refuse a run without a required component that has no default.

    Raises:
        UsageError: With the available names, or plugins to install.
    """
    for kind in NEEDED:
        if kind in (*without, "model") or "use" in plan.get(kind, {}):
            continue
        if kind == "optimizer" and "use" in plan.get("trainer", {}):
            entry = Builder(registry, folders=folders).entry("trainer", plan["trainer"]["use"])
            taken = taken_by(entry) if entry else None
            if taken is not None and "optimizer" not in taken:
                continue
        raise missing(registry, kind)


def _optimizers(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The tables of the optimizers, each with the prefix of its options."""
    table = plan.get("optimizer", {})
    if table.get("use") != SCOPED:
        yield "optimizer", table
        return
    yield from ((f"optimizer.{name}", one) for name, one in table.items() if name != "use")


def _watched(entry: Entry | None, table: Mapping[str, Any], monitor: str) -> str | None:
    """The figure that a scheduler waits for: its option `monitor`, or the run's default."""
    traits = entry.component.traits if entry else None
    if entry is None or not isinstance(traits, SchedulerTraits) or traits.interval != "evaluation":
        return None
    filled = any(param.source == "monitor" for param in entry.params_unloaded() or ())
    return Monitor.read(str(table.get("monitor", monitor))).figure if filled else None


def _check_monitor(text: str, registry: Registry) -> None:
    """Refuse a string that cannot be a figure of any run."""
    monitor = Monitor.read(text).figure
    split, figure = divided(monitor)
    if split not in SPLITS or not figure:
        tasks = [entry.component.traits for entry in registry.entries("task")]
        names = [name for task in tasks if isinstance(task, Task) for name in task.default_names("metric")]
        figures = ("loss", *names)
        names = [f"{split}/{name}" for split in SPLITS for name in dict.fromkeys(figures)]
        near = [f"validation/{monitor}"] if monitor in figures else closest(monitor, names)
        hint = f"\n  did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UsageError(f"monitor '{monitor}' is not of the form SPLIT/FIGURE{hint}\n  splits: {', '.join(SPLITS)}")
