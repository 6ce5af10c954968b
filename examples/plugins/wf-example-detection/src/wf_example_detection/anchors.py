"""A component kind of this package: anchor generators make the initial boxes of a detector."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from wf.errors import UsageError

SIDE = 4.0
"""The default side of an anchor, in pixels."""


class AnchorGenerator(Protocol):
    """The interface of an anchor generator; `anchors` calls it."""

    def sides(self) -> Tensor:
        """Width and height of each anchor in pixels, float ``[A, 2]``."""
        ...


class Squares:
    """Squares at each position.

    Args:
        sizes: The side of each square, in pixels.
    """

    def __init__(self, sizes: list[float] = [SIDE]) -> None:  # noqa: B006  # it is only read
        _check("sizes", sizes)
        self._sizes = sizes

    def sides(self) -> Tensor:
        """Each size as width and height, float ``[A, 2]``."""
        return torch.tensor(self._sizes)[:, None].expand(-1, 2).contiguous()


class Rectangles:
    """Rectangles of equal area and different shapes at each position.

    Args:
        size: The square root of the area, in pixels.
        ratios: Height divided by width of each rectangle.
    """

    def __init__(self, size: float = SIDE, ratios: list[float] = [0.5, 1.0, 2.0]) -> None:  # noqa: B006  # likewise
        _check("size", [size])
        _check("ratios", ratios)
        self._size, self._ratios = size, ratios

    def sides(self) -> Tensor:
        """Width and height of each rectangle, float ``[A, 2]``."""
        roots = torch.tensor(self._ratios).sqrt()
        return self._size * torch.stack([1 / roots, roots], 1)


def anchors(anchor_generator: AnchorGenerator) -> Tensor:
    """The run value `anchors`: the anchors of the run's generator."""
    return anchor_generator.sides()


def _check(option: str, numbers: list[float]) -> None:
    if not numbers or min(numbers) <= 0:
        raise UsageError(f"anchor-generator option '{option}' is {numbers}; each number must be more than 0")
