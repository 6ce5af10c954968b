"""The run's transforms."""

from __future__ import annotations

from typing import Any

from wf.declarations.task import Task
from wf.traits import TransformTraits
from wf_base.data import Dataset
from wf_base.task import TaskRuntime
from wf_building.built import Built
from wf_data.transforms.step import is_joint
from wf_run.providers.training.links import check_dataset
from wf_run.run_build import RunBuild, traits_of
from wf_run.runfiles.runfile import own_table


def transforms(
    run: RunBuild, dataset: Dataset | None, task: Task | None, task_runtime: TaskRuntime
) -> list[tuple[Any, ...]]:
    """The transforms for `wf_data.serving.RunData`, after a check that they fit the dataset."""
    if dataset is not None:
        check_dataset(run, dataset, task)
        if task_runtime.num_classes is not None:
            run.values["num_classes"] = task_runtime.num_classes
    if (left_out := run.left_out.get("transform")) and run.before is None:
        names, dataset_name = ", ".join(left_out), run.name("dataset")
        run.messages.append(
            f"the run names its transforms without {names}, which dataset {dataset_name} asks for"
            f" (--transform +NAME adds to {names})"
        )
    asked = run.plan["transform"]
    made = run.make_many("transform", [own_table("transform", table) for table in asked])
    return [transform_of(built, table.get("leaf")) for built, table in zip(made, asked, strict=True)]


def warnings(run: RunBuild, task: Task | None) -> list[str]:
    """The messages about transforms that move pixels."""
    made = run.several("transform")
    if task is None:
        return [text for text in map(_moves_alone, made) if text]
    return [text for text in map(_may_move, made) if text] if task.spatial else []


def _moves_alone(built: Built) -> str | None:
    """The message about a transform of images with targets of unknown kind."""
    traits = traits_of(built)
    if is_joint(built.value) or not isinstance(traits, TransformTraits) or not traits.moves:
        return None
    follow = (
        "masks follow, boxes and points do not" if hasattr(built.value, "on_masks") else "the targets do not follow"
    )
    return f"transform '{built.name}' moves the pixels of images: {follow}"


def _may_move(built: Built) -> str | None:
    """The message about a transform of images with masks."""
    traits = traits_of(built)
    if isinstance(traits, TransformTraits) and (traits.moves is not None or traits.masks or traits.joint):
        return None
    if hasattr(built.value, "on_masks") or is_joint(built.value):
        return None
    return (
        f"transform '{built.name}' does not declare whether it moves pixels: masks are not changed\n"
        "  declare TransformTraits(moves=False) if it does not"
    )


def transform_of(built: Built, leaf: str | None) -> tuple[Any, ...]:
    """A transform in the form for `wf_data.serving.RunData`."""
    traits, table = traits_of(built), {**built.table(), **({} if leaf is None else {"leaf": leaf})}
    takes = traits.inputs if isinstance(traits, TransformTraits) else "any"
    return built.value, is_train_only(built), leaf, takes, table


def is_train_only(built: Built) -> bool:
    """Whether a transform declares that it is only for training."""
    traits = traits_of(built)
    return isinstance(traits, TransformTraits) and traits.train_only
