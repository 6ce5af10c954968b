"""Checks that the parts of the run fit together, and finds the links that make them fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wf.declarations.task import Task
from wf.traits import LossTraits, ModelTraits
from wf_base.data import Dataset, TensorSamples
from wf_base.task import TaskRuntime
from wf_data.serving import RunData
from wf_fitting import links as compatibility
from wf_fitting.checking import check
from wf_fitting.parts import Facts, SampleForm, gives_targets
from wf_fitting.tasks import tasks_of
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.parts.data.validation import VALIDATION
from wf_run.planning.plan import parts_of
from wf_run.run_build import RunBuild, traits_of


@dataclass(frozen=True)
class Links:
    """The names of the links before the loss."""

    trained: tuple[str, ...]
    """The links in training, where transforms may change the form of targets."""
    judged: tuple[str, ...]
    """In evaluations."""


def links(
    run: RunBuild, served: RunData | OwnSamples, task: Task | None, task_runtime: TaskRuntime, transforms: Sequence[Any]
) -> Links:
    """The links between model and loss, after the data are known, and the task's requirements."""
    plan, spec = run.plan, served.spec
    targets = _trained_targets(run)
    check_parts(
        run,
        transforms=False,  # they are already applied
        task=task,
        targets=spec.targets,
        num_classes=spec.num_classes,
        trained=targets,
        samples=_samples_of_shape(spec.input_shape, tokens=spec.vocab_size is not None),
        taken=frozenset(name for name in run.wanted_by("trainer") if name is not None),
        evaluated=tuple(split for split in plan["eval_splits"] if split in evaluated_splits(run, served)),
    )
    model, loss = run.traits("model"), run.traits("loss") if "loss" in plan else None
    tasks = tasks_of(run.registry)
    facts = (spec.num_classes, model, loss, plan["links"])
    fit = trained = compatibility.resolve(targets or spec.targets, *facts, links=tasks.links)
    if targets is not None:
        assert isinstance(trained, compatibility.Fit)
        fit = compatibility.resolve_judged(spec.targets, *facts, links=tasks.links, trained=trained)
    assert isinstance(fit, compatibility.Fit)
    assert isinstance(trained, compatibility.Fit)
    names = list(dict.fromkeys((*trained.links, *fit.links)))
    for name in names:
        run.messages.append(
            f"link {name}: {tasks.link(name).summary} (for {run.name('loss')}; --links [] turns it off)"
        )
    unsaid = "dataset" not in plan or (
        task is not None and (spec.targets is None or "loss" not in plan)
    )  # the task checks its own requirements
    warnings = dict.fromkeys((*trained.warnings, *fit.warnings))
    run.messages += [f"warning: {text}" for text in warnings if not unsaid]
    plan["links"] = names
    gives = model.predictions if isinstance(model, ModelTraits) else "raw"
    wanted = loss.predictions if isinstance(loss, LossTraits) else None
    outputs = task_runtime.fitted(fit.targets, gives, wanted)
    run.take("task", targets=fit.targets, outputs=outputs)
    know_num_outputs(run, outputs.num_outputs(spec))
    return Links(trained.links, fit.links)


def forms_given(run: RunBuild) -> list[str]:
    """The forms of the model outputs: the declared one, and those that it serves as with nothing between."""
    model = run.traits("model")
    forms = [model.predictions if isinstance(model, ModelTraits) else "raw"]
    plain = [link for link in tasks_of(run.registry).links if link.of == "predictions" and link.target is None]
    for form in forms:
        forms += [one.gives for one in plain if form in one.takes and not one.targets and one.gives not in forms]
    return forms


def know_num_outputs(run: RunBuild, num_outputs: int | None) -> None:
    """Store the number of model outputs, if known."""
    if num_outputs is not None:
        run.take("task", num_outputs=num_outputs)


def check_dataset(run: RunBuild, dataset: Dataset, task: Task | None) -> None:
    """Refuse components that do not fit the dataset, before it is transformed."""
    check_parts(
        run,
        transforms=True,
        task=task,
        targets=dataset.targets,
        num_classes=len(dataset.class_names) or None,
        samples=_samples_of(dataset),
    )


def check_parts(run: RunBuild, *, transforms: bool, **known: Any) -> None:
    """Refuse components that do not fit, by the facts known so far: fields of `wf_fitting.parts.Facts`."""
    parts = parts_of(run.as_asked(), run.builder.entry, known.get("taken"))
    chosen = [part for part in parts if transforms or part.kind != "transform"]
    last = ("transform",) if transforms else None
    check(chosen, Facts(links=run.plan["links"], **known), run.registry, run.judged, last)


def evaluated_splits(run: RunBuild, served: RunData | OwnSamples) -> tuple[str, ...]:
    """The splits that the evaluator can evaluate; without data those of the plan."""
    if "dataset" in run.plan:
        only_sets = bool(served.sets) and VALIDATION not in served.splits
        return (*served.splits, *([VALIDATION] if only_sets else []))
    return tuple(run.plan["eval_splits"]) if "evaluator" in run.plan else ()


def _trained_targets(run: RunBuild) -> str | None:
    """The form of the targets in training, if transforms change it."""
    declared = [traits for built in run.several("transform") if gives_targets(traits := traits_of(built))]
    return declared[-1].gives_targets if declared else None


def _samples_of(dataset: Dataset) -> SampleForm | None:
    """The form of the samples before any transform, if known without reading one."""
    train = dataset.train
    if not isinstance(train, TensorSamples) or not isinstance(train.inputs, Tensor) or dataset.collate is not None:
        return None
    return SampleForm.of_shape(train.inputs.shape[1:], tokens=bool(dataset.vocabulary))


def _samples_of_shape(shape: Sequence[int] | None, *, tokens: bool) -> SampleForm | None:
    return None if shape is None else SampleForm.of_shape(shape, tokens=tokens)
