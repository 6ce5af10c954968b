"""The task of a run, which chooses loss and metrics if the run file names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf.declarations.task import Task
from wf.discovery.known import index
from wf.errors import UsageError, unknown
from wf_base.data import Dataset
from wf_base.task import TaskRuntime, make_task
from wf_fitting.tasks import tasks_of
from wf_run.planning.defaults import own_choices, with_changes
from wf_run.run_build import RunBuild


def task(run: RunBuild, dataset: Dataset | None) -> Task | None:
    """The task; None if unknown. Chooses the default loss and metrics."""
    if dataset is None:
        found = tasks_of(run.registry).named(run.plan["task"]) if run.plan["task"] else None
        _check_used(run)
        named = found.default("loss") if found is not None and "loss" in run.wanted_by("trainer") else None
    else:
        found = _of_dataset(run, dataset)
        named = found.default("loss") if found is not None else None
    if "use" not in run.plan.get("loss", {}):
        if named is None:
            _may_lack_loss(run, found)
        else:
            run.plan["loss"] = {"use": run.registry.own_choice("loss", named), **run.plan.get("loss", {})}
    metrics: tuple[str, ...] = ()
    if dataset is not None and found is not None:
        defaults = tasks_of(run.registry).default_metrics(found, dataset.targets)
        metrics = own_choices(run.registry, "metric", defaults)
    run.plan["metric"] = with_changes("metric", run.plan.get("metric"), metrics)
    return found


def task_runtime(run: RunBuild, task: Task | None, dataset: Dataset | None) -> TaskRuntime:
    """The task's behaviour in this run, before model and loss are known."""
    ignored = _ignore_index(run.plan.get("loss") or {})
    if dataset is None:
        return make_task(run.registry, task, None, ignore_index=ignored)
    facts = {"class_names": dataset.class_names, "vocabulary": dataset.vocabulary}
    return make_task(run.registry, task, dataset.targets, **facts, ignore_index=ignored)


def _of_dataset(run: RunBuild, dataset: Dataset) -> Task | None:
    """The task of the run; None if the dataset does not declare its targets.

    Raises:
        UsageError: If no task has the dataset's targets.
    """
    tasks, said = tasks_of(run.registry), run.plan["task"] or dataset.task
    loss = run.traits("loss") if "use" in run.plan.get("loss", {}) else None
    found = tasks.named(said) if said else tasks.of(dataset.targets, loss)
    if found is None and dataset.targets is not None:
        here = {plugin.distribution for plugin in run.registry.plugins}
        missing = [one for one in index() if "task" in one.names and one.distribution not in here]
        hint = "\n  ".join(f"{one.distribution} has tasks and is not installed: {one.install}" for one in missing)
        raise UsageError(f"dataset '{run.name('dataset')}': " + unknown("targets", dataset.targets, tasks.forms, hint))
    return found


def _may_lack_loss(run: RunBuild, task: Task | None) -> None:
    """Refuse a run without a loss if the trainer takes one and no task names a default."""
    needs = make_task(run.registry, task, None).needs_loss
    if needs and "loss" in run.wanted_by("trainer"):
        if task is not None:
            raise UsageError(f"task '{task.name}' has no default loss\n  name one: --loss NAME")
        if "dataset" not in run.plan:
            raise UsageError(f"trainer '{run.name('trainer')}' takes a loss\n  name one: --loss NAME")
        raise UsageError(
            f"dataset '{run.name('dataset')}' does not declare the form of its targets, so no loss is chosen for it\n"
            "  name one: --loss NAME, or --loss path.py:Loss; or declare it: wf_base.Dataset(targets=...), or an "
            "attribute `classes` of a dataset of torch"
        )
    run.plan.pop("loss", None)


def _check_used(run: RunBuild) -> None:
    """Refuse a loss and metrics that neither the trainer nor an evaluator takes, in a run without dataset."""
    plan, builder = run.plan, run.builder
    parts = [kind for kind in ("trainer", "evaluator") if kind in plan]
    entries = [builder.entry(kind, plan[kind]["use"]) for kind in parts]
    taken = {param.source for entry in entries if entry for param in builder.params(entry)}
    for kind, value, is_asked in (
        ("loss", "loss", "use" in plan.get("loss", {})),
        ("metric", "metrics", bool(plan.get("metric"))),
    ):
        if is_asked and value not in taken and None not in entries:
            names = " and ".join(f"{kind} '{run.name(kind)}'" for kind in parts)
            raise UsageError(f"{names}: a {kind} would not be used, as '{value}' is not taken\n  leave out --{kind}")


def _ignore_index(loss: Mapping[str, Any]) -> int:
    """The class index that the loss ignores, from its table; torch's default without one."""
    value = loss.get("ignore_index", getattr(loss.get("use"), "ignore_index", -100))
    return value if isinstance(value, int) else -100
