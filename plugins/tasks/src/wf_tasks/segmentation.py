"""One of several classes a pixel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wf_tasks.classification import Indices


class Segmentation(Indices):
    """One of several classes a pixel: targets are a class index a pixel."""

    any_size = True

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The pixels."""
        return {"mask_shape": tuple(target.shape)}
