"""Regression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf_base.figures import scale_hint
from wf_tasks.cells import numbers
from wf_tasks.common import TensorTask


class Regression(TensorTask):
    """Real numbers per sample: one target per column."""

    @classmethod
    def recognizes(cls, targets: Tensor) -> dict[str, Any] | None:
        """Floating-point targets."""
        return {"targets": "real"} if targets.is_floating_point() else None

    def served(self, targets: Any) -> Any:
        """A column, if samples are single numbers."""
        return targets.unsqueeze(1) if isinstance(targets, Tensor) and targets.ndim == 1 else targets

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The columns."""
        return {"num_targets": int(target.numel())}

    def targets_in(self, columns: Mapping[str, Sequence[Any]], where: str, first: int = 1) -> Tensor:
        """A number in each column."""
        return numbers(columns, where, first)

    def warnings(self, targets: Any) -> Iterator[str]:
        """Warn about targets that are large or far from 0."""
        hint = None if self.target_transforms else scale_hint(targets)
        if hint:
            yield f"{hint}\n  or train on scaled ones: --transform +standardize-targets"

    def num_outputs(self, spec: Any) -> int | None:
        """One per column."""
        num: int = spec.num_targets
        return num

    example_classes = 0

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """Two columns of normally distributed numbers."""
        return torch.randn(num, 2, generator=generator)

    def right(self, targets: Tensor) -> Tensor:
        """The targets themselves."""
        return targets

    @property
    def judged_by(self) -> tuple[str, ...]:
        """R2, else a mean error."""
        return ("r2", "mse", "mae", "loss")

    def baseline(self, figure: str, train: Tensor | None, targets: Tensor | None, spec: Any) -> float | None:
        """The error of predicting the mean, or for mae the median."""
        if figure == "r2":
            return 1.0
        if train is None or targets is None or figure not in ("mse", "mae"):
            return None
        if figure == "mse":
            return float((targets - train.double().mean(0)).square().mean())
        return float((targets - train.double().median(0).values).abs().mean())

    def is_line(self, spec: Any) -> bool:
        """Whether one number is predicted from one number."""
        lone = spec.input_shape is not None and math.prod(spec.input_shape) == spec.num_targets == 1
        return lone and spec.num_classes is None

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """Mean and median of each column, as model outputs."""
        return [self.scaled(train.double().mean(0, True))[0], self.scaled(train.double().median(0, True).values)[0]]
