"""Numbers a sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from wf.runtime.figures import scale_hint
from wf_tasks.common import TensorTask


class Regression(TensorTask):
    """Numbers a sample: targets are a number a column."""

    def served(self, targets: Any) -> Any:
        """A column, where samples gave a lone number."""
        return targets.unsqueeze(1) if isinstance(targets, Tensor) and targets.ndim == 1 else targets

    @property
    def num_classes(self) -> int | None:
        """None."""
        return len(self.class_names) or None

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The columns."""
        return {"num_targets": int(target.numel())}

    def warnings(self, targets: Any) -> Iterator[str]:
        """That the targets are far from 0 or large."""
        if hint := scale_hint(targets):
            yield hint

    def num_outputs(self, spec: Any) -> int | None:
        """One a column."""
        num: int = spec.num_targets
        return num
