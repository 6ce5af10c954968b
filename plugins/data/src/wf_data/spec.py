"""The form of a run's data as models and losses see it (`wf_base.data.Spec`), and warnings about its splits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import Tensor

from wf_base.data import Batch, Dataset, Spec
from wf_base.task import TaskRuntime
from wf_base.tree import Tree
from wf_data.sets import words
from wf_data.transforms.applying import shape_of


def spec_of(dataset: Dataset, name: str, task: TaskRuntime, batch: Batch, targets: Tree, *, collates: bool) -> Spec:
    """The form of the data.

    Args:
        dataset: The dataset.
        name: Its name.
        task: The task.
        batch: A transformed sample of the train split.
        targets: The targets of the train split; None if samples would have to be read.
        collates: Whether the dataset collates its own batches, which may have any shape.
    """
    target = batch.targets[0] if isinstance(batch.targets, Tensor) else None
    return Spec(
        name=name,
        targets=dataset.targets,
        input_shape=None if collates else shape_of(batch.inputs),
        **{"num_targets": 1, "mask_shape": (), **({} if target is None else task.facts(target))},
        num_classes=task.num_classes,
        class_names=tuple(dataset.class_names),
        class_counts=None if targets is None else task.class_counts(targets),
        feature_names=tuple(dataset.feature_names),
        vocab_size=len(dataset.vocabulary) or None,
        facts=dict(dataset.facts),
    )


def missing_classes(
    targets: Mapping[str, Tree], task: TaskRuntime, class_names: Sequence[str], sets: Collection[str]
) -> Iterator[str]:
    """A message for each split that lacks classes, and for each validation set with classes that train has not.

    Args:
        targets: The targets by split; None if samples would have to be read.
        task: The task, which counts them.
        class_names: The names of the classes.
        sets: The splits that are further validation sets.
    """
    names = class_names or ("0", "1")
    there: dict[str, set[int]] = {}
    for split, own in targets.items():
        counts = task.class_counts(own) if isinstance(own, Tensor) else None
        if counts is not None:
            there[split] = {number for number, count in enumerate(counts) if count}
    every, train = set().union(*there.values()), there.get("train")
    for split, found in there.items():
        missing = sorted(set(range(len(names))) - found)
        if missing and split not in sets:
            unlearned = train is not None and split == "train" and bool(every - train)
            why = ": other splits have them, and they cannot be learned" if unlearned else ""
            yield f"the {words(split)} has no sample of {_some_of([names[one] for one in missing])}{why}"
        elif split in sets and train is not None and (new := sorted(found - train)):
            unknown = _some_of([names[one] for one in new])
            yield f"the {words(split)} has samples of {unknown}, but the train split has none"


def channels_last(inputs: Tree) -> Iterator[str]:
    """Advice for images with channels last."""
    shape = shape_of(inputs)
    if shape is not None and len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= 8:
        yield (
            f"samples of shape {list(shape)} look like images [height, width, channels], but are treated as [channels, "
            "height, width]\n"
            "  put the channels first: for an array of all samples x.transpose(0, 3, 1, 2)"
        )


def _some_of(names: Sequence[str]) -> str:
    """Class names for messages: the first ones and the total number."""
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return f"{shown} and {len(names) - 5:,} more classes" if len(names) > 5 else f"class {shown}"
