"""Geometric transforms of images with their boxes and masks; each sample has its own draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_base.tree import Rows

Targets = Any
"""The targets of one image: a dict with ``boxes [M, 4]``, ``labels [M]`` and optionally ``masks [M, H, W]``, or a mask
``[H, W]``."""


class _Joint:
    """Changes images and targets one sample at a time."""

    joint = True
    num_draws = 1

    def __call__(self, images: Any, targets: Any, draws: Tensor) -> tuple[Any, Any]:
        """Images and their targets, transformed by the draws ``[N, num_draws]``.

        Args:
            images: `Rows` of ``[C, H, W]``, or ``[N, C, H, W]``.
            targets: One dict per image, see `wf_tasks.detection`, or masks int64 ``[N, H, W]``.
            draws: Uniform draws from [0, 1).
        """
        self._check_taken(images, targets)
        given = [None] * len(images) if targets is None else targets
        made = [self.change(*one) for one in zip(images, given, draws.cpu(), strict=True)]
        inputs, wanted = (list(side) for side in zip(*made, strict=True))
        return _joined(inputs, images), None if targets is None else _joined(wanted, targets)

    def change(self, image: Tensor, targets: Targets, draws: Tensor) -> tuple[Tensor, Targets]:
        """One image and its targets."""
        raise NotImplementedError

    def _check_taken(self, images: Any, targets: Any) -> None:
        """Refuse samples that are not images, and targets without positions in them."""
        if isinstance(images, Tensor) and images.ndim != 4:
            raise UsageError(
                f"{type(self).__name__} takes images [C, H, W] but got samples {list(images.shape[1:])}\n  leave it out"
            )
        if isinstance(targets, Tensor) and (targets.ndim != 3 or targets.shape[1:] != images.shape[2:]):
            raise UsageError(
                f"{type(self).__name__} takes boxes, or a mask of each image {list(images.shape[2:])}, but got "
                f"targets {list(targets.shape[1:])}\n"
                "  use a transform of images only, such as flip or crop"
            )


class JointFlip(_Joint):
    """Mirrors images from left to right at random, and boxes and masks with them.

    Args:
        p: The probability.
        vertical: Whether to mirror from top to bottom instead.
    """

    def __init__(self, p: float = 0.5, vertical: bool = False) -> None:
        _check_share("joint-flip", "p", p, lowest=0.0)
        self._p, self._axis = p, -2 if vertical else -1

    def change(self, image: Tensor, targets: Targets, draws: Tensor) -> tuple[Tensor, Targets]:
        """The image, mirrored if its draw is below p."""
        if float(draws[0]) >= self._p:
            return image, targets
        far = image.shape[self._axis]
        first = 0 if self._axis == -1 else 1

        def boxes(own: Tensor) -> Tensor:
            moved = own.clone()
            moved[:, first], moved[:, first + 2] = far - own[:, first + 2], far - own[:, first]
            return moved

        return image.flip(self._axis), _moved(targets, boxes, lambda mask: mask.flip(self._axis))


class JointCrop(_Joint):
    """Crops a random part of each image, with its boxes and masks, and resizes it to the size of the image.

    The part has the image's aspect ratio. Boxes are clipped at its edges; objects less visible than `visible` are
    removed. A part that would remove all objects is not used.

    Args:
        smallest: The minimum share of each side that the part has, from 0 to 1.
        visible: The minimum share of a box's area that must be in the part.
    """

    num_draws = 3

    def __init__(self, smallest: float = 0.6, visible: float = 0.3) -> None:
        _check_share("joint-crop", "smallest", smallest)
        _check_share("joint-crop", "visible", visible)
        self._smallest, self._visible = smallest, visible

    def change(self, image: Tensor, targets: Targets, draws: Tensor) -> tuple[Tensor, Targets]:
        """A part of the image, with size and position from the draws."""
        share, across, down = draws.double().tolist()
        sides = [max(1, round(side * (self._smallest + (1 - self._smallest) * share))) for side in image.shape[-2:]]
        top = int(down * (image.shape[-2] - sides[0] + 1))
        left = int(across * (image.shape[-1] - sides[1] + 1))
        kept = self._kept(targets, left, top, sides) if isinstance(targets, Mapping) else None
        if kept is not None and len(kept) and not bool(kept.any()):
            return image, targets

        def part(own: Tensor) -> Tensor:
            return own[..., top : top + sides[0], left : left + sides[1]]

        def boxes(own: Tensor) -> Tensor:
            return _cut(own, left, top, sides)

        chosen = targets if kept is None else {key: own[kept] for key, own in targets.items()}
        return _resized(part(image), _moved(chosen, boxes, part), tuple(image.shape[-2:]))

    def _kept(self, targets: Mapping[str, Tensor], left: int, top: int, sides: list[int]) -> Tensor:
        """bool ``[M]``: the objects that are visible enough."""
        before, after = targets["boxes"], _cut(targets["boxes"], left, top, sides)
        return (_areas(after) >= self._visible * _areas(before)) & (_areas(after) > 0)


class JointResize(_Joint):
    """Resizes images, boxes and masks in training: the shorter side to one of several sizes, drawn for each image.

    The aspect ratio is kept. If the images of a batch are one tensor, only a single size is possible.

    Args:
        sizes: The possible sizes of the shorter side, in pixels.
    """

    def __init__(self, sizes: list[int]) -> None:
        if not sizes or min(sizes) < 1:
            raise UsageError(f"transform 'joint-resize': sizes is {sizes}; it needs numbers of pixels, at least 1 each")
        self._sizes = sizes

    def __call__(self, images: Any, targets: Any, draws: Tensor) -> tuple[Any, Any]:
        """See `_Joint`."""
        if isinstance(images, Tensor) and len(self._sizes) > 1:
            raise UsageError(
                f"transform 'joint-resize': images of a batch are one tensor here, so they need one size, not "
                f"{self._sizes}\n  give one, or a dataset whose images may differ in size"
            )
        return super().__call__(images, targets, draws)

    def change(self, image: Tensor, targets: Targets, draws: Tensor) -> tuple[Tensor, Targets]:
        """The image resized to one of the sizes."""
        size = self._sizes[int(float(draws[0]) * len(self._sizes))]
        height, width = image.shape[-2:]
        factor = size / min(height, width)
        return _resized(image, targets, (max(1, round(height * factor)), max(1, round(width * factor))))


def _resized(image: Tensor, targets: Targets, size: tuple[int, ...]) -> tuple[Tensor, Targets]:
    """An image and its targets resized to a height and width."""
    before = image.shape[-2:]
    if tuple(before) == size:
        return image, targets
    factors = [size[1] / before[1], size[0] / before[0]] * 2

    def mask(own: Tensor) -> Tensor:
        rows = own.reshape(1, -1, *own.shape[-2:])
        if not rows.shape[1]:
            return own.new_zeros(*own.shape[:-2], *size)
        small = functional.interpolate(rows.to(torch.float32), size=size, mode="nearest-exact")
        return small.to(own.dtype).reshape(*own.shape[:-2], *size)

    def boxes(own: Tensor) -> Tensor:  # rounding may put a corner beyond the edge
        return torch.minimum(own * own.new_tensor(factors), own.new_tensor([size[1], size[0]] * 2))

    made = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    return made, _moved(targets, boxes, mask)


def _moved(targets: Targets, boxes: Callable[[Tensor], Tensor], mask: Callable[[Tensor], Tensor]) -> Targets:
    """Targets with changed boxes and masks; other entries are unchanged."""
    if isinstance(targets, Tensor):
        return mask(targets)
    if targets is None:
        return None
    changes = {"boxes": boxes, "masks": mask}
    return {key: changes[key](own) if key in changes else own for key, own in targets.items()}


def _cut(boxes: Tensor, left: int, top: int, sides: list[int]) -> Tensor:
    """Boxes in the coordinates of a part of their image, clipped at its edges."""
    moved = boxes - boxes.new_tensor([left, top, left, top])
    return torch.minimum(moved.clamp(min=0), moved.new_tensor([sides[1], sides[0], sides[1], sides[0]]))


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _joined(samples: list[Any], like: Any) -> Any:
    """Samples in the form of `like`: one tensor, or `Rows`."""
    return torch.stack(samples) if isinstance(like, Tensor) else Rows(samples)


def _check_share(name: str, option: str, value: float, lowest: float | None = None) -> None:
    if not (0 < value <= 1 or value == lowest):
        wanted = "from 0 to 1" if lowest == 0 else "more than 0 and at most 1"
        raise UsageError(f"transform '{name}': {option} is {value}; it must be {wanted}")
