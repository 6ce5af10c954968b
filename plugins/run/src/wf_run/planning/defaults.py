"""The components that a run has by default: those of its task, its dataset and the plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wf.declarations.component import REQUIRED
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.discovery.entry import Entry
from wf.parameters import allows_none
from wf.registry import Registry
from wf.traits import DatasetTraits
from wf_building.defaults import default_hooks, default_of, missing
from wf_fitting.tasks import tasks_of
from wf_run.runfiles import lists
from wf_run.runfiles.runfile import RunFile


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


def with_changes(kind: str, value: Sequence[Any] | None, defaults: tuple[str, ...]) -> list[Any]:
    """A list of tables: the run file's or the default components, with the changes of run file and command line."""
    return lists.changed(kind, value, [{"use": name} for name in defaults])


def default_kinds() -> list[str]:
    """The kinds with defaults declared by plugins."""
    return [name for name, kind in KINDS.items() if not (kind.several or kind.chosen_by or name in KINDS.on_demand)]


def default_lists(plan: Mapping[str, Any], registry: Registry) -> dict[str, Sequence[str]]:
    """The components of a run that names none: transforms and hooks."""
    traits = traits_of_dataset(plan, registry)
    task = task_of(plan, traits, registry)
    hooks = default_hooks(registry, task.default_names("hook") if task else ())
    if "dataset" not in plan:
        hooks = tuple(name for name in hooks if not _needs_data(registry.find("hook", name)))
    return {"transform": traits.transforms if isinstance(traits, DatasetTraits) else (), "hook": hooks}


def with_defaults(plan: Mapping[str, Any], registry: Registry) -> RunFile:
    """The plan with the default loss and metrics, if the dataset's targets are already known."""
    traits = traits_of_dataset(plan, registry)
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


def default_model(dataset: Any, task: Task | None, registry: Registry) -> str:
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


def _needs_data(entry: Entry) -> bool:
    """Whether a component cannot do without the run's data."""
    params = entry.params_unloaded() or ()
    return any(param.source == "data" and param.default is REQUIRED and not allows_none(param.type) for param in params)


def traits_of_dataset(plan: Mapping[str, Any], registry: Registry) -> Any:
    """The traits of the dataset that a run file names; None without one, and for live objects."""
    return _traits(registry, "dataset", plan["dataset"]["use"]) if "dataset" in plan else None


def _traits(registry: Registry, kind: str, use: Any) -> Any:
    return registry.find(kind, use).component.traits if isinstance(use, str) else None
