"""Test data: inputs, targets and predictions of every form in `wf.traits`, generated from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wf_base import Dataset, TensorSamples, tree
from wf_base.data import collated
from wf_base.task import TaskRuntime

VOCABULARY = ("<padding>", "<unknown>", "a", "b", "c")
SHAPES: dict[str, tuple[int, ...]] = {"vector": (5,), "image": (3, 32, 32), "sequence": (6, 4), "tokens": (6,)}
"""The shape of one sample for each kind of inputs."""


def kinds_of(num_axes: int) -> tuple[str, ...]:
    """The kinds of inputs, in the words of traits, that a sample with so many axes may be."""
    return {1: ("vector", "sequence"), 2: ("sequence",), 3: ("image",)}.get(num_axes, ())


def generator(seed: int) -> torch.Generator:
    """A separate random generator."""
    return torch.Generator().manual_seed(seed)


def inputs(shape: tuple[int, ...], num: int = 12, seed: int = 0) -> Tensor:
    """float32 ``[num, *shape]`` in [0, 1), as images are served."""
    return torch.rand(num, *shape, generator=generator(seed))


def tokens(shape: tuple[int, ...], num: int = 12) -> Tensor:
    """int64 ``[num, *shape]``, indices of `VOCABULARY` without padding."""
    return torch.randint(1, len(VOCABULARY), (num, *shape), generator=generator(0))


@dataclass(frozen=True)
class Form:
    """A form of predictions with a form of targets."""

    predictions: str
    targets: str
    task: TaskRuntime = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.predictions} and {self.targets} targets"


@dataclass(frozen=True)
class Example:
    """A batch as passed to a loss."""

    form: Form
    predictions: Tensor
    """Shaped like the targets require: ``[N, K]``, ``[N, C]``, ``[N]`` or ``[N, C, H, W]``."""
    targets: Tensor

    def to(self, dtype: torch.dtype) -> Example:
        """The batch with predictions and floating-point targets in another precision."""
        wanted = self.targets.to(dtype) if self.targets.is_floating_point() else self.targets
        return replace(self, predictions=self.predictions.to(dtype), targets=wanted)

    def __getitem__(self, rows: slice) -> Example:
        return replace(self, predictions=self.predictions[rows], targets=self.targets[rows])


def example(form: Form, num: int = 6, *, scale: float = 1.0) -> Example:
    """A batch of one form.

    Args:
        form: Predictions and targets.
        num: Samples.
        scale: Scale of the scores that the predictions are made from; 1e4 for extreme ones.
    """
    wanted = form.task.example(num, 0).train.targets
    shape = form.task.right(wanted).shape
    scores = torch.randn(shape[:1] if shape[1:] == (1,) else shape, generator=generator(1))
    scores = scores * scale if scale == 1 else scores.sign() * scale
    return Example(form, form.task.as_form(scores, form.predictions), wanted)


def targets_of(task: TaskRuntime, rows: range, seed: int = 0) -> Any:
    """The targets of some samples of a task's example, as in a batch."""
    made: Dataset = task.example(24, seed)
    if isinstance(made.train, TensorSamples):
        return tree.map_leaves(lambda leaf: leaf[rows.start : rows.stop], made.train.targets)
    collate = made.collate or task.collate or torch.utils.data.default_collate
    return collated(collate, [made.train[number] for number in rows])[1]


def batches_of(task: TaskRuntime, input_shape: tuple[int, ...]) -> Callable[[Sequence[int]], tuple[Any, Any]]:
    """Returns a function that batches samples of a task's example, given their numbers from 0 to 23.

    Args:
        task: The task.
        input_shape: The shape of one input, if the task leaves it open.

    Raises:
        NotImplementedError: If the task has no example.
    """
    made: Dataset = task.example(input_shape=None if task.any_size else input_shape)

    def batch(rows: Sequence[int]) -> tuple[Any, Any]:
        if isinstance(made.train, TensorSamples):
            inputs, targets = tree.select((made.train.inputs, made.train.targets), torch.tensor(list(rows)))
            return inputs, targets
        collate = made.collate or task.collate or torch.utils.data.default_collate
        inputs, targets = collated(collate, [made.train[number] for number in rows])
        return inputs, targets

    return batch


def guessed_scores(task: TaskRuntime, wanted: Tensor, seed: int = 1) -> Tensor:
    """Scores of a model that guesses."""
    return torch.randn(task.right(wanted).shape, generator=generator(seed))
