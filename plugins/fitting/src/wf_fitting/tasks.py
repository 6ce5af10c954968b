"""The tasks and links of a registry, by their targets."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from wf.declarations.task import Link, Task
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import LossTraits, MetricTraits

RAW = "raw"
"""The form of unchanged scores, see `wf.traits`."""


@lru_cache(maxsize=4)
def tasks_of(registry: Registry) -> Tasks:
    """The tasks and links of a registry."""
    return Tasks(registry)


class Tasks:
    """The tasks and links of plugins, by purpose.

    Args:
        registry: Where they are looked up.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._found: dict[tuple[str, str | None], Task | None] = {}

    def named(self, name: str) -> Task:
        """The task with a name.

        Raises:
            UsageError: For an unknown name, or a name that two plugins declare.
        """
        task = self._registry.find("task", name).component.traits
        if not isinstance(task, Task):
            raise UsageError(f"task '{name}' is your own code\n  declare it with wf_tasks() in a plugin: -p FILE.py")
        return task

    def of(self, targets: str | None, loss: object = None, *, predictions: str | None = None) -> Task | None:
        """The task for targets of a form; None if no task has such targets.

        Args:
            targets: Their form.
            loss: The loss's traits.
            predictions: The predictions that the loss takes, if the loss itself is not available.

        Raises:
            UsageError: If several plugins declare such a task.
        """
        wants = loss.predictions if isinstance(loss, LossTraits) else predictions
        key = (targets or "", wants)
        if key not in self._found:
            self._found[key] = self._of(*key)
        return self._found[key]

    def _of(self, targets: str, wants: str | None) -> Task | None:
        tasks = [task for task in self._all if targets in task.targets]
        names = list(dict.fromkeys(task.name for task in tasks if wants in task.predictions))
        names = names or list(dict.fromkeys(task.name for task in tasks if not task.predictions))
        if len(names) > 1:
            names = [name for name in names if self._registry.is_builtin("task", name)] or names
        if len(names) > 1:
            ways = " or ".join(f"--task {name}" for name in names)
            raise UsageError(f"several tasks have targets '{targets}'\n  choose one: {ways}")
        return self.named(self._registry.own_choice("task", names[0])) if names else None

    @cached_property
    def _all(self) -> list[Task]:
        traits = [entry.component.traits for entry in self._registry.entries("task")]
        return [task for task in traits if isinstance(task, Task)]

    @cached_property
    def links(self) -> list[Link]:
        """The links, those for certain targets first.

        Raises:
            UsageError: If two plugins declare a link with the same name.
        """
        names = self._registry.names("link")
        found = [self._registry.find("link", self._registry.own_choice("link", name)) for name in names]
        links = [entry.component.traits for entry in found if isinstance(entry.component.traits, Link)]
        return sorted(links, key=lambda link: not link.targets)

    def link(self, name: str) -> Link:
        """The link with a name."""
        return next(link for link in self.links if link.name == name)

    @property
    def forms(self) -> list[str]:
        """The forms of targets that tasks have or links produce."""
        given = [link.gives for link in self.links if link.of == "targets"]
        return list(dict.fromkeys([*(form for task in self._all for form in task.targets), *given]))

    def whose_models_give(self, form: str) -> list[str]:
        """The names of the tasks whose models compute their own losses and give predictions of a form."""
        return [task.name for task in self._all if task.gives == form]

    def unknown_forms(self, traits: Any) -> list[tuple[str, str, list[str]]]:
        """The forms in a component's traits that no task or link declares.

        Args:
            traits: The component's traits.

        Returns:
            For each one: ``targets`` or ``predictions``, the form, and the known forms; nothing if there are no tasks.
        """
        if not self._all:
            return []
        of_targets = {form for task in self._all for form in task.targets}
        of_predictions = {RAW, *(form for task in self._all for form in task.predictions)}
        of_predictions |= {task.gives for task in self._all if task.gives}
        for link in self.links:
            kinds = {"targets": of_targets, "predictions": of_predictions}
            kinds.get(link.of, set()).update((*link.takes, link.gives))
        said = getattr(traits, "targets", None) or ()
        targets = [said] if isinstance(said, str) else [*said]
        targets += [form for form in (getattr(traits, "gives_targets", None),) if form]
        found = [("targets", form, sorted(of_targets)) for form in targets if form not in of_targets]
        wanted = getattr(traits, "predictions", RAW)
        if isinstance(traits, MetricTraits):
            judged = [task for task in self._all if not targets or {*targets} & {*task.targets}]
            reads = {RAW, *(form for task in judged for form in task.reads)}
            of_predictions = reads if all(task.reads for task in judged) else {wanted}
        return [*found, *(("predictions", form, sorted(of_predictions)) for form in {wanted} - of_predictions)]

    def default_metrics(self, task: Task | None, targets: str | None) -> tuple[str, ...]:
        """The default metrics of a run: the task's, for this form of targets."""
        return tuple(name for name in (task.default_names("metric") if task else ()) if self._judges(name, targets))

    def _judges(self, metric: str, targets: str | None) -> bool:
        providers = self._registry.providers("metric", metric)
        traits = providers[0].component.traits if providers else None
        return not isinstance(traits, MetricTraits) or not traits.targets or targets in traits.targets
