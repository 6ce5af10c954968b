"""A border around images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wf.errors import UsageError


class Pad:
    """Pad images by a number of pixels or up to a size.

    Args:
        pixels: The width of the border: one number for all sides, or left, right, top and bottom.
        size: The size to pad up to: one side of a square, or height and width. The image is centred; an odd pixel goes
            to the right or the bottom.
        value: The value of the border.

    Raises:
        UsageError: Unless exactly one of `pixels` and `size` is given, for a negative one, and for a value that is not
            finite.
    """

    def __init__(
        self,
        pixels: int | tuple[int, int, int, int] | None = None,
        size: int | tuple[int, int] | None = None,
        value: float = 0.0,
    ) -> None:
        if (pixels is None) == (size is None):
            raise UsageError("pad: give either pixels (2: two on every side) or size (32: up to 32x32)")
        self._border = (pixels,) * 4 if isinstance(pixels, int) else pixels
        self._size = (size, size) if isinstance(size, int) else size
        if min(self._border or self._size or ()) < 0 or not math.isfinite(value):
            raise UsageError(f"pad: pixels {pixels} and size {size} must not be negative, value {value} must be finite")
        self._value = value

    def __call__(self, inputs: Tensor) -> Tensor:
        """The images ``[N, C, H, W]`` with their border.

        Raises:
            UsageError: If they are not images, or larger than `size`.
        """
        if inputs.ndim != 4:
            raise UsageError(f"pad: inputs {list(inputs.shape)} are not images [N, C, H, W]")
        return torch.nn.functional.pad(inputs, self._border or self._up_to_size(inputs), value=self._value)

    def _up_to_size(self, inputs: Tensor) -> tuple[int, int, int, int]:
        assert self._size is not None
        rows, columns = self._size[0] - inputs.shape[2], self._size[1] - inputs.shape[3]
        if rows < 0 or columns < 0:
            raise UsageError(f"pad: images of {inputs.shape[2]}x{inputs.shape[3]} do not fit into size {self._size}")
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
