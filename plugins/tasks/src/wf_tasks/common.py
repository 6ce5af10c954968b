"""Shared by the tasks of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.task import Numbers, TaskRuntime, at
from wf_base.tensors import all_finite

_CLASSES = (0, 0, 0, 1, 1, 2)


class TensorTask(TaskRuntime):
    """Base of tasks whose targets are one tensor with a fixed number of axes."""

    axes: tuple[str, ...] = ("N", "K")
    """The axes of the targets."""

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse other shapes."""
        form = str(self.targets)
        if not isinstance(targets, Tensor):
            raise DataError(
                f"{where}: {form} targets must be one tensor, not a {type(targets).__name__}"
                "\n  a dataset with targets of another form declares none: Dataset(targets=None)"
            )
        if targets.ndim != len(self.axes):
            raise DataError(
                f"{where}: {form} targets must be [{', '.join(self.axes)}], not {list(targets.shape)}\n"
                "  unsqueeze(1) converts [N] to [N, 1], flatten() converts back"
            )
        self.check_values(targets, ids, where)

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse targets that are not finite floating-point numbers."""
        if not targets.is_floating_point():
            raise DataError(f"{where}: {self.targets} targets must be floating point, not {targets.dtype}")
        if not all_finite(targets):
            raise DataError(
                f"{where}: targets contain values that are not finite{at(~targets.isfinite(), targets, ids)}"
            )

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """With a loss for real numbers, raw scores are trained to equal the targets."""
        made = super().fitted(given, gives, wanted)
        made.predictions = "real" if (gives, wanted) == ("raw", "real") else gives
        made.single_logit = given == "binary"
        return made

    def num_outputs(self, spec: Any) -> int | None:
        """One for binary targets, else one per class or label."""
        num: int = 1 if self.single_logit else spec.num_classes or spec.num_targets
        return num

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse other shapes; a single output per sample may have shape ``[N]``."""
        if not isinstance(outputs, Tensor):
            raise UsageError(f"model '{names['model']}' returns {type(outputs).__name__}, not a tensor")
        got, wanted = list(outputs.shape), [num, *shape]
        if got != wanted and not (self.single_logit and got == wanted[:1]):
            raise UsageError(
                f"model '{names['model']}' gives shape {got} for {num} samples; dataset '{names['dataset']}' "
                f"with {self._words(shape[0])} needs {wanted}\n  "
                "let wf set the number of outputs (a parameter num_outputs), or correct it"
            )
        return shape[0]

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Inputs in [0, 1), and unrelated targets in which every class occurs."""
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.rand(num, *(input_shape or self.input_shape), generator=generator)
        targets = self.example_targets(num, torch.Generator().manual_seed(seed))
        names = [str(index) for index in range(self.example_classes)]
        return Dataset(train=TensorSamples(inputs, targets), targets=self.targets or "", class_names=names)

    input_shape: tuple[int, ...] = (5,)
    """The default shape of an example's inputs."""
    example_classes = 3
    """The names of an example's classes."""

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """The targets of an example."""
        raise NotImplementedError

    def example_indices(self, num: int) -> Tensor:
        """int64 ``[N]`` class indices; each class occurs among any six in a row, with unequal frequencies."""
        return torch.tensor(_CLASSES).repeat(-(-num // len(_CLASSES)))[:num]

    def _words(self, num_outputs: int | None) -> str:
        return f"{num_outputs} output(s)"
