"""Segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wf_tasks.classification import Indices, numbered
from wf_tasks.drawing import classes_drawn

EXAMPLE_SHAPE = (8, 8)


class Segmentation(Indices):
    """One of several classes per pixel: one class index per pixel."""

    axes = ("N", "H", "W")
    any_size = True

    @classmethod
    def recognizes(cls, targets: Tensor) -> dict[str, Any] | None:
        """One integer per pixel."""
        whole = targets.ndim == len(cls.axes) and not targets.is_floating_point()
        return {"targets": "mask", "class_names": numbered(targets)} if whole else None

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The pixels."""
        return {"mask_shape": tuple(target.shape)}

    input_shape = (3, *EXAMPLE_SHAPE)

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """Masks in which each class occurs."""
        pixels = torch.arange(math.prod(EXAMPLE_SHAPE)).reshape(EXAMPLE_SHAPE)
        return (self.example_indices(num).reshape(-1, 1, 1) + pixels) % self.example_classes

    def draw(self, inputs: Any, predictions: Tensor, class_names: Sequence[str]) -> list[Any]:
        """One picture per sample: its pixels in the colours of their classes; the first class is not coloured."""
        pairs = zip(inputs, self.labels(predictions), strict=True)
        return [classes_drawn(image, classes) for image, classes in pairs]

    def shares_known(self, spec: Any) -> Sequence[int]:
        """Empty: not every pixel is read."""
        return ()

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """None: a constant prediction would need one value per pixel."""
        return []
