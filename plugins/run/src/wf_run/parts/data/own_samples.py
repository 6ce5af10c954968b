"""The data of a run whose trainer makes its samples itself: its batches, and no splits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from wf.declarations.values import VALUES
from wf.errors import PluginError, UsageError, unknown
from wf_base.data import Batch, Spec
from wf_base.task import TaskRuntime
from wf_data.inputs import Form, Inputs
from wf_run.planning.own_samples import MAKE_BATCH


class OwnSamples:
    """The data of a run without a dataset, in place of `wf_data.serving.RunData`.

    Args:
        name: The trainer's name, for messages.
        known: The result of the trainer's `run_values`, see `wf.protocols.Trainer`.
        batch_size: The run's batch size.
        task: The run's task.

    Raises:
        PluginError: For unknown run values.
    """

    splits: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    own_transforms: tuple[Any, ...] = ()
    steps: tuple[Any, ...] = ()
    class_names: tuple[str, ...] = ()
    collates = False

    def __init__(self, name: str, known: Mapping[str, Any], batch_size: int, task: TaskRuntime) -> None:
        for key in known:
            if key not in VALUES:
                raise PluginError(unknown("run value", str(key), VALUES, of=f"trainer '{name}', run_values"))
        self.trainer: Any = None
        """Makes the batches; set when everything else is built."""
        self._name, self.known = name, dict(known)
        self.batch_size = batch_size
        self.num_batches: int | None = known.get("steps_per_epoch")
        """Batches in an epoch; None if an epoch has no end."""
        shape = known.get("input_shape")
        self.input_shape = None if shape is None else tuple(shape)
        self.inputs: Form = None if shape is None else Inputs(self.input_shape or (), torch.get_default_dtype())
        """The shape of the model's inputs; None if the trainer does not declare it."""
        self.spec = Spec(
            name=name,
            targets=None,
            input_shape=self.input_shape,
            num_targets=1,
            mask_shape=(),
            class_names=(),
            class_counts=None,
            feature_names=(),
            num_classes=task.num_classes,
        )
        self.places: dict[str, Any] = {}
        self.sample_ids: dict[str, Tensor] = {}
        self.warnings: Sequence[str] = ()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, as the trainer makes them; a resumed run continues with its saved state."""
        numbers = itertools.count(start) if self.num_batches is None else range(start, self.num_batches)
        make = getattr(self.trainer, MAKE_BATCH)
        for _ in numbers:
            batch = make()
            if not isinstance(batch, Batch):
                raise UsageError(
                    f"trainer '{self._name}': {MAKE_BATCH}() gave {type(batch).__name__}; it must return a "
                    "wf_base.Batch, which has its number of samples"
                )
            yield batch

    def describe(self) -> str:
        """A description of the samples' source."""
        epoch = "" if self.num_batches is None else f", {self.num_batches:,} batches an epoch"
        return f"samples made by trainer {self._name}{epoch}"

    def samples(self, split: str) -> NoReturn:
        """Refuse access to a split.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"there is no split '{split}': trainer '{self._name}' makes its samples itself")

    num_samples = batches = samples

    def close(self) -> None:
        """Nothing to release."""
