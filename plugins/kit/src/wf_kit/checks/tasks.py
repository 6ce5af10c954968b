"""Checks of tasks and links."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wf.declarations.task import Link, Task
from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_base.task import TaskRuntime, make_task
from wf_fitting.tasks import tasks_of
from wf_kit.kit import Defect, NotChecked, Subject, check, expect
from wf_kit.making import document, plain_forms, task_for, values
from wf_run.experiment import Experiment
from wf_run.parts.links import loaded
from wf_run.planning.plan import prepare


@check("task-example", "task", after=("loads",), fix="let example() return a Dataset whose targets check() accepts")
def example(subject: Subject) -> None:
    """It has an example for each form of its targets, and accepts it."""
    for targets, runtime, made in _examples(subject):
        expect(isinstance(made, Dataset), f"example() returns {type(made).__name__}, not a wf_base.Dataset")
        expect(
            targets is None or made.targets in (None, targets),
            f"its example of {targets} targets has {made.targets} targets",
        )
        train, where = made.train, "its example"
        try:
            runtime.check_dataset(where)
            if isinstance(train, TensorSamples):
                runtime.check(train.inputs, runtime.served(train.targets), list(range(len(train))), where)
        except DataError as error:
            raise Defect(str(error).partition("\n")[0]) from error


@check(
    "task-trains",
    "task",
    after=("loads", "task-example"),
    fix="let num_outputs, check_outputs and read match the defaults of the task, or name others in [tool.wf.check.run]",
)
def trains(subject: Subject) -> None:
    """A run with its defaults trains on its example, and is evaluated."""
    task, registry = _task(subject), subject.registry
    own = {kind: task.default(kind) for kind in ("loss", "model")}
    named = {kind: {"use": name} for kind, name in own.items() if name and registry.has(kind, name)}
    if task.predictions and "loss" not in {**named, **subject.run}:
        wanted = f'[tool.wf.check.run."{subject}"] loss = "NAME"'
        raise NotChecked(f"it needs a loss for {', '.join(task.predictions)}; name one: {wanted}")
    for targets, _, made in _examples(subject):
        names = tasks_of(registry).default_metrics(task, targets)
        metrics = [{"use": name} for name in names if registry.has("metric", name)]
        asked = {**document(subject), **named, "metric": metrics, "task": subject.use, **_asked(subject)}
        plan = prepare({**asked, "dataset": {"use": made}}, registry)
        with Experiment(plan, registry, save=False, quiet=True) as experiment:
            figures = experiment.dry_run()
        wrong = [name for name, figure in figures.items() if isinstance(figure, float) and figure != figure]
        expect(not wrong, f"on its example {', '.join(wrong)} is not a number")


@check("link-applies", "link", after=("loads",), fix="return a new tensor with as many samples, by torch operations")
def applies(subject: Subject) -> None:
    """It converts between the forms that it declares; gradients pass through if it changes predictions."""
    link = subject.traits
    assert isinstance(link, Link)
    if link.target is None:
        raise NotChecked("it converts nothing")
    if link.of == "loss":
        expect(loaded(link, subject.registry, {})(torch.rand(4)).ndim == 0, "it does not return a single number")
        return
    tried = 0
    for form in plain_forms(subject):
        given = link.takes if link.of == "predictions" else (form.targets,)
        for taken in given:
            if link.fits(link.of, taken, form.targets if link.of == "predictions" else None):
                _try(subject, link, form.task, taken)
                tried += 1
    if not tried:
        raise NotChecked("no installed task has its input form")


def _try(subject: Subject, link: Link, task: TaskRuntime, taken: str) -> None:
    """Apply a link to the example of a task."""
    targets: Tensor = task.example().train.targets
    with values(subject, task.targets) as known:
        change = loaded(link, subject.registry, known)
    if link.of == "predictions":
        leaf = task.as_form(task.right(targets), taken).detach().requires_grad_()
        made = change(leaf)
        expect(len(made) == len(leaf), f"for {taken} predictions it returns {len(made)} rows for {len(leaf)} samples")
        expect(made.requires_grad, f"no gradient passes through it from {link.gives} to {taken}")
        return
    if link.num_classes is not None:
        targets = targets % link.num_classes
    made = change(targets)
    expect(len(made) == len(targets), f"for {taken} targets it returns {len(made)} rows for {len(targets)} samples")
    wanted = task_for(subject, link.gives)
    try:
        wanted.check(None, made, list(range(len(made))), "its output")
    except DataError as error:
        raise Defect(str(error).partition("\n")[0]) from error


def _task(subject: Subject) -> Task:
    assert isinstance(subject.traits, Task)
    return subject.traits


def _asked(subject: Subject) -> dict[str, Any]:
    """The author's settings for the run."""
    return {key: {"use": value} if key in ("loss", "model") else value for key, value in subject.run.items()}


def _examples(subject: Subject) -> list[tuple[str | None, TaskRuntime, Any]]:
    """For each form of the task's targets, the task and its example."""
    task, found = _task(subject), []
    for targets in task.targets or (None,):
        runtime = make_task(subject.registry, task, targets)
        try:
            made = runtime.example()
        except NotImplementedError as error:
            raise NotChecked("it has no example") from error
        facts = {name: getattr(made, name, ()) for name in ("class_names", "vocabulary")}
        found.append((targets, make_task(subject.registry, task, targets, **facts), made))
    return found
