"""What the tasks of this package share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.task import Numbers, TaskRuntime, all_finite, at

_CLASSES = (0, 0, 0, 1, 1, 2)


class TensorTask(TaskRuntime):
    """A task whose targets are one tensor of a certain shape."""

    axes: tuple[str, ...] = ("N", "K")
    """The shape of the targets."""

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse another shape."""
        form = str(self.targets)
        if not isinstance(targets, Tensor):
            raise DataError(
                f"{where}: {form} targets must be one tensor, not a {type(targets).__name__}"
                "\n  a dataset whose targets are of no such form says none: Dataset(targets=None)"
            )
        if targets.ndim != len(self.axes):
            raise DataError(
                f"{where}: {form} targets must be [{', '.join(self.axes)}], not {list(targets.shape)}\n"
                "  unsqueeze(1) makes [N] to [N, 1], flatten() the other way round"
            )
        self.check_values(targets, ids, where)

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse targets that are no finite floats."""
        if not targets.is_floating_point():
            raise DataError(f"{where}: {self.targets} targets must be floating point, not {targets.dtype}")
        if not all_finite(targets):
            raise DataError(f"{where}: targets hold values that are not finite{at(~targets.isfinite(), targets, ids)}")

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """A loss of numbers trains a model of raw scores to give the targets' own numbers."""
        made = super().fitted(given, gives, wanted)
        made.predictions = "real" if (gives, wanted) == ("raw", "real") else gives
        made.single_logit = given == "binary"
        return made

    def num_outputs(self, spec: Any) -> int | None:
        """One for yes or no, else one a class or label."""
        num: int = 1 if self.single_logit else spec.num_classes or spec.num_targets
        return num

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse another shape; a single output a sample may come as ``[N]``."""
        if not isinstance(outputs, Tensor):
            raise UsageError(f"model '{names['model']}' gives {type(outputs).__name__}, not a tensor")
        got, wanted = list(outputs.shape), [num, *shape]
        if got != wanted and not (self.single_logit and got == wanted[:1]):
            raise UsageError(
                f"model '{names['model']}' gives shape {got} for {num} samples; dataset '{names['dataset']}' "
                f"with {self._words(shape[0])} needs {wanted}\n  "
                "leave the number of outputs to wf (a parameter num_outputs), or set it right"
            )
        return shape[0]

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Inputs in [0, 1), and targets that each class occurs in; they have nothing to do with each other."""
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.rand(num, *(input_shape or self.input_shape), generator=generator)
        targets = self.example_targets(num, torch.Generator().manual_seed(seed))
        names = [str(index) for index in range(self.example_classes)]
        return Dataset(train=TensorSamples(inputs, targets), targets=self.targets or "", class_names=names)

    input_shape: tuple[int, ...] = (5,)
    """Of an example's inputs, where nobody says another."""
    example_classes = 3
    """The names of an example's classes."""

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """The targets of an example."""
        raise NotImplementedError

    def example_indices(self, num: int) -> Tensor:
        """int64 ``[N]`` class indices; each class occurs among six in a row, in unequal shares."""
        return torch.tensor(_CLASSES).repeat(-(-num // len(_CLASSES)))[:num]

    def _words(self, num_outputs: int | None) -> str:
        return f"{num_outputs} output(s)"
