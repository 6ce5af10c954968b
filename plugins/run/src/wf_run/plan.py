"""Completes and checks a run's components by name, before anything heavy is imported.

Only facts from the dataset's data (its targets, its number of samples) are left to `wf_run.experiment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wf.declarations.component import REQUIRED, Param
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.discovery.entry import Entry
from wf.engine.figures import SPLITS, Monitor, divided
from wf.errors import UsageError, closest, unknown
from wf.parameters import allows_none, convert, takes_several, with_names, without_null
from wf.registry import Registry
from wf.traits import DatasetTraits, SchedulerTraits, TrainerTraits
from wf_building.builder import Builder
from wf_building.built import LIVE, name_of_live
from wf_building.checked import Checked
from wf_building.defaults import SEVERAL, default_hooks, default_of, missing
from wf_building.options import as_list, check_options
from wf_building.scopes import SCOPED, scopes_of, with_scopes
from wf_cli.arguments import ADD
from wf_fitting.checking import check as check_fit
from wf_fitting.judged import Judged
from wf_fitting.parts import Facts, Part, taken_by, with_parts
from wf_fitting.tasks import tasks_of
from wf_processes.together import num_processes
from wf_run.parts.data import validation
from wf_run.parts.data.dataset_file import read_dataset_file
from wf_run.parts.groups import Grouping
from wf_run.parts.wishes import with_wanted
from wf_run.runfiles import lists
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import RunFile, check, on_error_of, options_of
from wf_run.runfiles.said import naming_place

NEEDED = ("dataset", "model", "optimizer", "trainer", "evaluator", "checkpointer", "strategy")
"""The required kinds of a run, unless its trainer makes the samples or takes no optimizer."""

MAKE_BATCH = "make_batch"
"""The method of a trainer that makes its samples itself, see `wf.protocols.Trainer`."""


OF_DATASET = ("split", "fold", "shuffle", "drop_last", "workers", "serve_from")
"""The general keys that say how a dataset is divided and served."""


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
        for kind, names in _default_lists(plan, registry).items()
    }
    parts = parts_of(_with_defaults(plan, registry), Builder(registry, folders=folders, plan=plan).entry)
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


def _default_lists(plan: Mapping[str, Any], registry: Registry) -> dict[str, Sequence[str]]:
    """The components of a run that names none: transforms and hooks."""
    traits = _traits_of_dataset(plan, registry)
    task = task_of(plan, traits, registry)
    hooks = default_hooks(registry, task.default_names("hook") if task else ())
    if "dataset" not in plan:
        hooks = tuple(name for name in hooks if not _needs_data(registry.find("hook", name)))
    return {"transform": traits.transforms if isinstance(traits, DatasetTraits) else (), "hook": hooks}


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
            added, there = (partial(find, kind, registry=registry) for find in (_full_name, _name_in_list))
            plan[kind] = lists.with_names(plan[kind], added, there)
    for link in plan["links"] or ():
        if not registry.has("link", link):
            raise UsageError(unknown("link", link, registry.names("link")))
    without = _without_dataset(plan, registry, folders)
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
    traits = _traits_of_dataset(plan, registry)
    task = task_of(plan, traits, registry)
    if "monitor" not in document and task and (monitor := task.default("monitor")):
        plan["monitor"] = monitor
    _check_monitor(plan["monitor"], registry)
    if "use" not in plan.get("model", {}):
        plan["model"] = {"use": _default_model(traits, task, registry), **plan.get("model", {})}
    for kind, names in {
        **_default_lists(plan, registry),
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


def default_kinds() -> list[str]:
    """The kinds with defaults declared by plugins."""
    return [name for name, kind in KINDS.items() if not (kind.several or kind.chosen_by or name in KINDS.on_demand)]


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


def makes_samples(use: Any, registry: Registry, folders: Sequence[Path] = ()) -> bool:
    """Whether a trainer makes its samples itself, so that its run has no dataset.

    A plugin declares it; a user's class has a method `make_batch`.
    """
    if isinstance(use, str) and not use.startswith(LIVE):
        entry = Builder(registry, folders=folders).entry("trainer", use)
        assert entry is not None
        if entry.plugin is not None:
            return isinstance(traits := entry.component.traits, TrainerTraits) and traits.makes_samples
        use = entry.load()
    return hasattr(getattr(use, "func", use), MAKE_BATCH)


def _without_dataset(plan: Mapping[str, Any], registry: Registry, folders: Sequence[Path]) -> frozenset[str]:
    """The kinds without a default because the trainer makes its samples itself; none for other trainers.

    Raises:
        UsageError: If the run file has settings of a dataset.
    """
    use = plan.get("trainer", {}).get("use")
    if use is None or not makes_samples(use, registry, folders):
        return frozenset()
    name = use if isinstance(use, str) else name_of_live(use)
    asked = [f"--{kind}" for kind in ("dataset", "transform", validation.VALIDATION) if plan.get(kind)]
    asked += [f"--{key.replace('_', '-')}" for key in OF_DATASET if plan[key] != GENERAL[key].default]
    asked += ["--batch-size full"] if plan["batch_size"] == "full" else []
    if asked:
        raise UsageError(
            f"trainer '{name}' makes its samples itself, so there is no dataset\n  leave out {', '.join(asked)}"
        )
    if "use" in plan.get("evaluator", {}):
        return frozenset({"dataset"})
    if asked := [kind for kind in ("evaluator", "metric") if plan.get(kind)]:
        raise UsageError(
            f"trainer '{name}' makes its samples itself, so there are no splits to evaluate\n"
            f"  leave out --{asked[0]}, or name an evaluator that needs no data: --evaluator NAME"
        )
    return frozenset({"dataset", "evaluator"})


def _needs_data(entry: Entry) -> bool:
    """Whether a component cannot do without the run's data."""
    params = entry.params_unloaded() or ()
    return any(param.source == "data" and param.default is REQUIRED and not allows_none(param.type) for param in params)


def task_of(plan: Mapping[str, Any], dataset: Any, registry: Registry) -> Task | None:
    """The task of a run: named by the run file or the dataset, or the task that has its targets.

    Args:
        plan: The run file.
        dataset: The traits of the dataset.
        registry: Where tasks are looked up.

    Returns:
        None if it is unknown, or no task has such targets.

    Raises:
        UsageError: For an unknown task.
    """
    if name := plan.get("task") or getattr(dataset, "task", None):
        return tasks_of(registry).named(name)
    use = plan.get("loss", {}).get("use")
    known = isinstance(use, str) and registry.has("loss", use.partition("@")[0])
    return tasks_of(registry).of(getattr(dataset, "targets", None), _traits(registry, "loss", use) if known else None)


def own_choices(registry: Registry, kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names of the components that wf chooses by default, see `Registry.own_choice`."""
    return tuple(registry.own_choice(kind, name) for name in names)


def _optimizers(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The tables of the optimizers, each with the prefix of its options."""
    table = plan.get("optimizer", {})
    if table.get("use") != SCOPED:
        yield "optimizer", table
        return
    yield from ((f"optimizer.{name}", one) for name, one in table.items() if name != "use")


def with_changes(kind: str, value: Sequence[Any] | None, defaults: tuple[str, ...]) -> list[Any]:
    """A list of tables: the run file's or the default components, with the changes of run file and command line."""
    return lists.changed(kind, value, [{"use": name} for name in defaults])


def check_names(plan: dict[str, Any], registry: Registry) -> None:
    """Look up every name of a run, and check and convert the options as far as possible without importing targets.

    Raises:
        UsageError: For the first unknown name, or value that does not fit.
    """
    for kind in KINDS:
        value = plan.get(kind)
        if isinstance(value, list):
            plan[kind] = [_checked_in_list(kind, table, registry) for table in value]
        elif value:
            plan[kind] = _checked_table(kind, value, registry)


def _checked_in_list(kind: str, table: Any, registry: Registry) -> Any:
    """The same for an entry of a list."""
    sign, name = lists.divided(table)
    if not sign:
        return _checked_table(kind, table, registry)
    if sign == ADD:
        _checked_table(kind, {**table, "use": name}, registry)
    return table


def _checked_table(kind: str, table: Any, registry: Registry) -> Any:
    """Look up a component's name, and check its options; returns the table with the entry."""
    use = table.get("use") if isinstance(table, Mapping) else table
    if not isinstance(use, str):
        return table
    if use == SCOPED and isinstance(table, Mapping):
        return {**table, **{name: _checked_table(kind, own, registry) for name, own in options_of(kind, table).items()}}
    entry = registry.find(kind, use)
    options = options_of(kind, table) if isinstance(table, Mapping) else {}
    params = entry.params_unloaded() if options else None
    if params is None:
        return table
    current, converted = check_options(entry, options, params), set[str]()
    for param in with_names(params, current):
        if param.name in current:
            owner = f"{kind} '{entry.component.name}'"
            current[param.name], is_done = check_value(param, without_null(current[param.name]), owner, registry)
            converted |= {param.name} if is_done else set()
    return Checked(table, entry, current, converted)


def check_value(param: Param, value: Any, owner: str, registry: Registry) -> tuple[Any, bool]:
    """Refuse a value that certainly does not fit; a live object is checked later.

    Returns:
        The value, and whether it is already converted.

    Raises:
        UsageError: With the expected type.
    """
    from wf_signatures.reading import is_exact  # 7 ms, and only where there are options

    if param.kind is not None and value is not None and takes_several(param.type):
        return [_checked_table(param.kind, table, registry) for table in as_list(param.kind, value, owner)], False
    if param.kind is not None:
        return _checked_table(param.kind, value, registry), False
    if is_exact(param.type) and (value is None or isinstance(value, (str, int, float, list, dict))):
        return convert(param, value, owner), True
    return value, False


def _with_defaults(plan: Mapping[str, Any], registry: Registry) -> RunFile:
    """The plan with the default loss and metrics, if the dataset's targets are already known."""
    traits = _traits_of_dataset(plan, registry)
    task = task_of(plan, traits, registry)
    if (
        "dataset" not in plan
        or task is None
        or not all(registry.has("metric", name) for name in task.default_names("metric"))
    ):
        return {**plan, "metric": [] if lists.is_changed(plan.get("metric") or ()) else plan.get("metric")}
    name = task.default("loss")
    loss = {"use": registry.own_choice("loss", name)} if name and registry.has("loss", name) else {}
    metrics = own_choices(
        registry, "metric", tasks_of(registry).default_metrics(task, getattr(traits, "targets", None))
    )
    changed = with_changes("metric", plan.get("metric"), metrics)
    return {**plan, "loss": {**loss, **plan.get("loss", {})}, "metric": changed}


def _default_model(dataset: Any, task: Task | None, registry: Registry) -> str:
    """The default model of a run: from its task, the dataset, its inputs, or the general default.

    Raises:
        UsageError: When there is none.
    """
    if task and (name := task.default("model")):
        return registry.own_choice("model", name)
    own = getattr(dataset, "model", None)
    if own is not None and registry.has("model", own):
        return registry.own_choice("model", own)
    inputs = getattr(dataset, "inputs", None)
    name = (default_of(registry, "model", inputs) if inputs else None) or default_of(registry, "model")
    if name is None:
        raise missing(registry, "model")
    return name


def _watched(entry: Entry | None, table: Mapping[str, Any], monitor: str) -> str | None:
    """The figure that a scheduler waits for: its option `monitor`, or the run's default."""
    traits = entry.component.traits if entry else None
    if entry is None or not isinstance(traits, SchedulerTraits) or traits.interval != "evaluation":
        return None
    filled = any(param.source == "monitor" for param in entry.params_unloaded() or ())
    return Monitor.read(str(table.get("monitor", monitor))).figure if filled else None


def _full_name(kind: str, name: Any, registry: Registry) -> Any:
    if not isinstance(name, str) or ":" in name or not registry.has(kind, name.partition("@")[0]):
        return name
    entry = registry.find(kind, name)
    return registry.full_name(entry)


def _name_in_list(kind: str, name: str, registry: Registry) -> str:
    """The name of a component as it stands in a run's list, with its provider if several plugins have that name."""
    names = {entry.component.name for entry in registry.providers(kind, name)}
    return names.pop() if len(names) == 1 else str(_full_name(kind, name, registry))


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


def _traits_of_dataset(plan: Mapping[str, Any], registry: Registry) -> Any:
    return _traits(registry, "dataset", plan["dataset"]["use"]) if "dataset" in plan else None


def _traits(registry: Registry, kind: str, use: Any) -> Any:
    return registry.find(kind, use).component.traits if isinstance(use, str) else None
