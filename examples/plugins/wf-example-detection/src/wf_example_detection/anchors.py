"""A kind of this package's own: anchor generators make the boxes that a detector starts from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from wf.errors import UsageError

SIDE = 4.0
"""The side of an anchor where nothing else is said, in pixels."""


class AnchorGenerator(Protocol):
    """What a component of the kind must have."""

    def sides(self) -> Tensor:
        """Width and height of each anchor in pixels, float ``[A, 2]``."""
        ...


class Squares:
    """Squares around each place.

    Args:
        sizes: Their sides, in pixels.
    """

    def __init__(self, sizes: list[float] = [SIDE]) -> None:  # noqa: B006  # it is only read
        _check("sizes", sizes)
        self._sizes = sizes

    def sides(self) -> Tensor:
        """Each size twice."""
        return torch.tensor(self._sizes)[:, None].expand(-1, 2).contiguous()


class Rectangles:
    """Rectangles of one area and of several shapes around each place.

    Args:
        size: The side of a square of their area, in pixels.
        ratios: Height over width of each.
    """

    def __init__(self, size: float = SIDE, ratios: list[float] = [0.5, 1.0, 2.0]) -> None:  # noqa: B006  # likewise
        _check("size", [size])
        _check("ratios", ratios)
        self._size, self._ratios = size, ratios

    def sides(self) -> Tensor:
        """Widths and heights."""
        roots = torch.tensor(self._ratios).sqrt()
        return self._size * torch.stack([1 / roots, roots], 1)


def anchors(anchor_generator: AnchorGenerator) -> Tensor:
    """The run value `anchors`: those of the run's generator."""
    return anchor_generator.sides()


def _check(option: str, numbers: list[float]) -> None:
    if not numbers or min(numbers) <= 0:
        raise UsageError(f"anchor-generator option '{option}' is {numbers}; each number must be more than 0")
