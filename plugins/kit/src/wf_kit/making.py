"""Builds the component under test as a run does, with the run values of a run of the kit's own parts."""

from __future__ import annotations

import copy
import inspect
import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from torch import Tensor

from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.declarations.values import VALUES
from wf.registry import Registry
from wf.traits import DatasetTraits, LossTraits, MetricTraits, ModelTraits, TrainerTraits, TransformTraits
from wf_base import TensorSamples
from wf_base.task import TaskRuntime, make_task
from wf_building.builder import Builder
from wf_building.scopes import scopes_of
from wf_data.given import as_dataset
from wf_fitting.tasks import RAW, tasks_of
from wf_kit import samples
from wf_kit.kit import NotChecked, Subject, expect
from wf_run.assembly import Assembly
from wf_run.planning.own_samples import makes_samples
from wf_run.planning.plan import prepare

PARTS = {
    "dataset": "kit-samples@wf-kit",
    "model": "kit-model@wf-kit",
    "loss": "kit-loss@wf-kit",
    "optimizer": "kit-adam@wf-kit",
    "trainer": "kit-trainer@wf-kit",
    "evaluator": "kit-evaluator@wf-kit",
    "checkpointer": "kit-checkpointer@wf-kit",
    "strategy": "kit-process@wf-kit",
}


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "transform": ("__call__",),
    "loss": ("__call__",),
    "model": ("forward", "state_dict", "parameters"),
    "optimizer": ("step", "zero_grad", "param_groups", "state_dict", "load_state_dict"),
    "scheduler": ("step", "state_dict", "load_state_dict"),
    "metric": ("update", "compute", "reset", "sync"),
    "trainer": ("train_step",),
    "evaluator": ("evaluate",),
    "checkpointer": ("save", "load"),
    "strategy": ("device", "rank", "world_size", "prepare", "bare", "agree", "sum", "gather", "close"),
}
"""The interface of each kind, as used by the run."""

SIDE = 32
"""The side of the images, in pixels, that a model scales to a size of its own choice."""

TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
"""Environment that torchrun sets for a single process."""


def document(subject: Subject, targets: str | None = None, shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """The run file of a short run of the kit's own parts, suitable for a component but without it.

    Args:
        subject: The component; its author's settings for the run win.
        targets: The form of the dataset's targets; by default the first that the component takes.
        shape: The shape of one input; by default one that the component takes.
    """
    dataset = {
        "use": PARTS["dataset"],
        "targets": targets or targets_of(subject)[0],
        "input_shape": list(shape or shapes_of(subject)[0]),
        "tokens": _inputs_of(subject) == "tokens",
    }
    parts: dict[str, Any] = {kind: {"use": name} for kind, name in PARTS.items()}
    parts |= {"dataset": dataset, **{kind: [] for kind in KINDS.several}}
    general = {"epochs": 2, "batch_size": 4, "seed": 0, "device": "cpu", "log_every": 1}
    if subject.kind == "trainer" and (scopes := scopes_of(subject.entry)):
        parts |= {kind: dict.fromkeys(names, parts[kind]) for kind, names in scopes.items()}
        parts["trainer"] = subject.table()
    if makes_its_samples(subject):
        del parts["dataset"], parts["evaluator"], parts["loss"]
        parts["trainer"] = subject.table()
        if "model" not in subject.run:
            raise NotChecked(
                f'it makes its own samples; name a model for them: [tool.wf.check.run."{subject}"] model = "NAME"'
            )
    else:
        parts |= _of_task(subject, str(dataset["targets"]))
    given = {
        key: {"use": value} if key in PARTS and isinstance(value, str) else value for key, value in subject.run.items()
    }
    return {**parts, **general, **given}


def makes_its_samples(subject: Subject) -> bool:
    """Whether it is a trainer whose run has no dataset."""
    return subject.kind == "trainer" and makes_samples(subject.use, subject.registry)


def _of_task(subject: Subject, targets: str) -> dict[str, Any]:
    """Dataset, model and loss where the kit's own model would not do: the task's example, and its defaults.

    That is where models of the task compute their own losses, or where its loss takes no plain scores.
    """
    task = _task_of(subject, targets)
    runtime = make_task(subject.registry, task, targets if task and targets in task.targets else None)
    if task is None or (runtime.needs_loss and special_predictions(subject.registry, task) is None):
        return {}
    model = task.default("model")
    if model is None and "model" not in subject.run:
        wanted = f'[tool.wf.check.run."{subject}"] model = "NAME"'
        raise NotChecked(f"task '{task.name}' names no model; name one: {wanted}")
    loss = {"use": task.default("loss")} if runtime.needs_loss else {}
    return {"dataset": {"use": runtime.example()}, "model": {"use": model, **_small(subject, model)}, "loss": loss}


def _small(subject: Subject, model: str | None) -> dict[str, Any]:
    """The options that make a model quick to train: a small side of its images, if it scales them itself."""
    if model is None or "model" in subject.run:
        return {}
    entry = subject.registry.find("model", subject.registry.own_choice("model", model))
    return {"image_size": SIDE} if any(param.name == "image_size" for param in entry.params()) else {}


def special_predictions(registry: Registry, task: Task) -> str | None:
    """The form of predictions that the default loss of a task takes, where plain scores are not of that form.

    None where they are, and where the task names no loss or no model.
    """
    name = task.default("loss")
    if name is None or task.default("model") is None or not registry.has("loss", name):
        return None
    traits = registry.find("loss", registry.own_choice("loss", name)).component.traits
    if not isinstance(traits, LossTraits) or traits.predictions == RAW:
        return None
    plain = (link for form in task.targets for link in tasks_of(registry).links if link.fits("predictions", RAW, form))
    return None if any(link.gives == traits.predictions for link in plain) else traits.predictions


def _task_of(subject: Subject, targets: str) -> Task | None:
    """The task of the run around a component: the component's own, the task of the named dataset, or of the targets."""
    if isinstance(subject.traits, Task):
        return subject.traits
    name, entry = subject.run.get("dataset"), subject.entry
    if isinstance(name, str) and subject.registry.has("dataset", name):
        entry = subject.registry.find("dataset", name)
    traits = entry.component.traits
    if isinstance(traits, DatasetTraits):
        named = tasks_of(subject.registry).named(traits.task) if traits.task else None
        return named or tasks_of(subject.registry).of(traits.targets)
    return tasks_of(subject.registry).of(targets)


def targets_of(subject: Subject) -> tuple[str, ...]:
    """The forms of targets that a component takes; the simplest if it accepts any or does not declare them."""
    traits, plain = subject.traits, [form.targets for form in plain_forms(subject)]
    if isinstance(traits, ModelTraits) and traits.predictions != RAW:
        declared = (entry.component.traits for entry in subject.registry.entries("task"))
        known = [task for task in declared if isinstance(task, Task) and task.targets]
        own = [task for task in known if special_predictions(subject.registry, task) == traits.predictions]
        if own:
            return own[0].targets[:1]
    if isinstance(traits, ModelTraits) and traits.per != "any":
        tasks = {form: tasks_of(subject.registry).of(form) for form in plain}
        return tuple(form for form, task in tasks.items() if task is not None and task.per == traits.per)[:1]
    if isinstance(traits, (MetricTraits, TransformTraits)):
        found = traits.targets
    else:
        found = tuple(form.targets for form in forms_of(subject))
    return found or tuple(plain[:1])


def forms_of(subject: Subject) -> tuple[samples.Form, ...]:
    """The predictions and targets that a loss takes: as declared, or else the first that it accepts."""
    if isinstance(subject.traits, LossTraits):
        wants = subject.traits.predictions
        return tuple(samples.Form(wants, form, task_for(subject, form, wants)) for form in subject.traits.targets)
    tried = plain_forms(subject) if subject.kind == "loss" else ()
    return tuple(itertools.islice((form for form in tried if _accepts(subject, form)), 1))


def plain_forms(subject: Subject) -> tuple[samples.Form, ...]:
    """Candidate forms for a loss without traits, in order: classes first, then plain numbers."""
    found: list[tuple[tuple[int, ...], samples.Form]] = []
    for targets in tasks_of(subject.registry).forms:
        runtime = task_for(subject, targets)
        try:
            train = runtime.example().train
        except NotImplementedError:
            continue
        example = train.targets if isinstance(train, TensorSamples) else None
        if isinstance(example, Tensor):
            floats, columns = example.is_floating_point(), example[0].numel()
            order = (int(floats), -example.ndim if floats else example.ndim, columns)
            found.append((order, samples.Form("raw", targets, runtime)))
    if not found:
        raise NotChecked("no installed task has an example to test it with; wf's own tasks are in wf-tasks")
    return tuple(form for _, form in sorted(found, key=lambda pair: pair[0]))


def task_for(subject: Subject, targets: str, predictions: str = "raw") -> TaskRuntime:
    """The task for a form of targets, from the component's registry."""
    task = tasks_of(subject.registry).of(targets, predictions=predictions)
    return make_task(subject.registry, task, targets, predictions)


def _accepts(subject: Subject, form: samples.Form) -> bool:
    batch = samples.example(form)
    try:
        with values(subject, form.targets) as known:
            value = make(subject, known)(batch.predictions, batch.targets)
    except Exception:  # the question is whether it raises
        return False
    return isinstance(value, Tensor)


def shapes_of(subject: Subject) -> tuple[tuple[int, ...], ...]:
    """The shapes of inputs that a component takes; all numeric shapes if it accepts any."""
    inputs = _inputs_of(subject)
    if inputs in ("any", "numbers"):
        return tuple(shape for kind, shape in samples.SHAPES.items() if kind != "tokens")
    return (samples.SHAPES[inputs],)


def _inputs_of(subject: Subject) -> str:
    traits = subject.traits
    return traits.inputs if isinstance(traits, (ModelTraits, TransformTraits)) else "vector"


def settings(subject: Subject, **changes: Any) -> dict[str, Any]:
    """The run file of a short run that includes the component.

    Raises:
        NotChecked: If the kit has no matching other parts.
    """
    short = {"epochs": None, "steps": 10, "batch_size": 64} if subject.kind == "dataset" else {}  # however many samples
    run = {**document(subject), **short, **_protocol(subject), **changes}
    if makes_its_samples(subject):  # its epochs may have no end
        run |= {"epochs": None, "steps": 10}
    table = subject.table()
    if subject.kind == "hook":  # the kit must see every error, even from hooks that may be disabled
        table = {**table, "on_error": "stop"}
    return {**run, subject.kind: [table] if subject.kind in KINDS.several else table}


@contextmanager
def values(
    subject: Subject, targets: str | None = None, shape: tuple[int, ...] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The run values of a run with the kit's own parts in every place, except for the component itself.

    A component that takes only numbers and names gets the values of one run in all its checks.
    """
    if not _takes_plain_values(subject):
        with _run(subject, document(subject, targets, shape)) as known:
            yield known
        return
    key = targets, shape
    if key not in subject.known:
        with _run(subject, document(subject, targets, shape)) as known:
            subject.known[key] = {
                name: value for name, value in known.items() if name in VALUES and VALUES[name].is_written
            }
    yield copy.deepcopy(subject.known[key])


@contextmanager
def _run(subject: Subject, asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    with TemporaryDirectory() as folder, as_by_torchrun(subject):
        plan = prepare(asked, subject.registry)
        parts = Assembly(
            plan, subject.registry, run_dir=Path(folder) / "run", subfolder="", save=True, folders=(), quiet=True
        )
        yield parts.all_values()


def _takes_plain_values(subject: Subject) -> bool:
    """Whether it takes no objects of a run (such as the model), no folder and no other components."""
    sources = [param.source for param in subject.params if param.source is not None]
    written = all(VALUES[source].is_written and source != "run_dir" for source in sources)
    plain = written and all(param.kind is None for param in subject.params)
    return plain and subject.kind in ("loss", "metric", "transform")


def make(subject: Subject, known: Mapping[str, Any], **options: Any) -> Any:
    """The component itself, built from its options and the run values."""
    return Builder(subject.registry, known).build(subject.kind, subject.table(**options)).value


def check_kind(subject: Subject, value: Any) -> None:
    """Check that an object has the interface of its kind."""
    expect(not inspect.isclass(value), f"it returns the class {getattr(value, '__name__', value)}, not an instance")
    missing = [name for name in ATTRIBUTES.get(subject.kind, ()) if not hasattr(value, name)]
    expect(not missing, f"it returns {type(value).__name__}, which has no {', '.join(missing)}")
    if subject.kind == "dataset":
        as_dataset(value, str(subject), subject.registry)
    if subject.kind == "strategy":
        value.close()


@contextmanager
def as_by_torchrun(subject: Subject) -> Iterator[None]:
    """Set the environment that torchrun sets for a single process."""
    if subject.kind != "strategy" or "RANK" in os.environ:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with mock.patch.dict(os.environ, {**TORCHRUN, "MASTER_PORT": port}):
        yield


def _protocol(subject: Subject) -> dict[str, Any]:
    """Refuse a trainer whose step protocols no optimizer of the kit supports."""
    traits = subject.traits
    if isinstance(traits, TrainerTraits) and "plain" not in traits.steps and "optimizer" not in subject.run:
        raise NotChecked(
            f"the kit has no optimizer with step {' or '.join(traits.steps)}; name one: "
            f'[tool.wf.check.run."{subject}"] optimizer = "NAME"'
        )
    return {}
