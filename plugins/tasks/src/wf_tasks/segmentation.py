"""One of several classes a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from wf_tasks.classification import Indices


class Segmentation(Indices):
    """One of several classes a pixel: targets are a class index a pixel."""

    any_size = True

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The pixels."""
        return {"mask_shape": tuple(target.shape)}

    def shares_known(self, spec: Any) -> Sequence[int]:
        """Nothing: not every pixel is read."""
        return ()

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """None: a constant would be one a pixel."""
        return []
