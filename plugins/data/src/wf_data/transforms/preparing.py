"""Prepares a run's samples once, before the first batch: fits the transforms on the train split, and applies those in
advance that give the same result in every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import tree
from wf_base.data import Samples, TensorSamples, as_default, floats
from wf_base.figures import lost_in_float32
from wf_base.random import sample_seeds
from wf_base.streams import Stream
from wf_base.task import TaskRuntime
from wf_data.batches.loading import Chunk, Loader
from wf_data.checks import Checks
from wf_data.inputs import Form, form_of
from wf_data.transforms.applying import Transforms
from wf_data.transforms.step import Step


def input_form(
    samples: Mapping[str, Samples], ids: Mapping[str, Tensor], checks: Checks, *, seed: int, vocab_size: int | None
) -> Form:
    """The form of the inputs before the transforms.

    Args:
        samples: The splits.
        ids: The number of each sample in the dataset, by split; none of a stream.
        checks: Makes a batch of samples that are read one by one, and checks it.
        seed: The run's seed.
        vocab_size: The number of tokens; None if there are none.
    """
    train = samples["train"]
    if isinstance(train, TensorSamples) and not checks.collates:
        return form_of(train.inputs, vocab_size)
    if isinstance(train, Stream):
        inputs = next(train.rows(train.order()))[0]
    else:
        chunk = Chunk("train", [0], sample_seeds(seed, -1, ids["train"][:1]).tolist())
        inputs = next(iter(Loader(samples, 0, checks).batches([chunk])))[0]
    return form_of(tree.map_leaves(as_default, inputs), vocab_size, any_size=checks.collates)


def fit(steps: Sequence[Step], train: Samples) -> None:
    """Fit each transform of the inputs on the train inputs, transformed by the ones before it.

    Raises:
        UsageError: If one is fitted, and the samples are not in memory.
    """
    fitted = [step for step in steps if hasattr(step.transform, "fit")]
    if not fitted:
        return
    if not isinstance(train, TensorSamples):
        raise UsageError(
            f"{type(fitted[0].transform).__name__} is fitted on the train split, which needs samples in memory; "
            "these are read one by one\n"
            "  for images give the numbers yourself: --transform normalize "
            "--transform.normalize.mean '[0.5, 0.5, 0.5]' --transform.normalize.std '[0.25, 0.25, 0.25]'"
        )
    inputs, targets = floats(train.inputs), train.targets
    for step in steps[: steps.index(fitted[-1]) + 1]:
        if hasattr(step.transform, "fit"):
            step.fit(inputs)
        if step.train_only:
            inputs = tree.map_leaves(as_default, inputs)
        else:
            inputs, targets = step.apply(inputs, targets)


def fit_targets(steps: Sequence[Step], train: Samples, task: TaskRuntime, name: str, *, collates: bool) -> None:
    """Fit the transforms of the targets on the train split, and pass them to the task.

    Args:
        steps: The transforms of the targets.
        train: The train split.
        task: The task.
        name: The dataset's name, for messages.
        collates: Whether the dataset collates its own batches.

    Raises:
        UsageError: If the targets are no numbers in memory.
    """
    if not steps:
        return
    targets = getattr(train, "targets", None)
    if not isinstance(targets, Tensor) or not targets.is_floating_point() or collates:
        raise UsageError(
            f"{steps[0].name} needs numeric targets in one tensor in memory, which dataset '{name}' does not have\n"
            "  leave it out"
        )
    for step in steps:
        if hasattr(step.transform, "fit"):
            step.transform.fit(targets)
        targets = step.transform(targets)
    task.target_transforms = tuple(step.transform for step in steps)


def apply_ahead(transforms: Transforms, samples: dict[str, Samples]) -> None:
    """Apply the leading deterministic transforms once, if the samples are in memory.

    Args:
        transforms: The transforms of the inputs, of which those are removed.
        samples: The splits, whose samples are replaced.
    """
    if not all(isinstance(one, TensorSamples) for one in samples.values()):
        return
    ahead: list[Step] = []
    while transforms.steps and not transforms.steps[0].train_only:
        ahead.append(transforms.steps.pop(0))
    for split, one in samples.items() if ahead else ():
        assert isinstance(one, TensorSamples)
        inputs, targets = floats(one.inputs), one.targets
        for step in ahead:
            inputs, targets = step.apply(inputs, targets)
        transforms.check_size(one.inputs, inputs)
        samples[split] = TensorSamples(inputs, targets)


def narrowed(samples: Samples) -> Samples:
    """Samples in memory in torch's default precision, the model's: float64 is kept until here."""
    if not isinstance(samples, TensorSamples):
        return samples
    return TensorSamples(tree.map_leaves(as_default, samples.inputs), tree.map_leaves(as_default, samples.targets))


def lost_digits(train: Samples, feature_names: Sequence[str]) -> list[str]:
    """A warning about float64 inputs in memory that the model's float32 cannot distinguish."""
    if not isinstance(train, TensorSamples) or not isinstance(train.inputs, Tensor):
        return []
    lost = lost_in_float32(train.inputs) if torch.get_default_dtype() == torch.float32 else []
    if not lost:
        return []
    names = ", ".join(repr(feature_names[one]) for one in lost if one < len(feature_names))
    return [
        f"numbers{f' of {names}' if names else ''} are so large and close together that float32, which the model uses, "
        "cannot distinguish them\n"
        "  standardize them first: --transform standardize"
    ]
