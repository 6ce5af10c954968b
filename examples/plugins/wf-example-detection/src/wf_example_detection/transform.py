"""A joint transform: it transforms images together with their boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from wf_example_detection.boxes import Boxes


class FlipBoxes:
    """Mirrors images horizontally, together with their boxes.

    Args:
        p: Probability to mirror an image.
    """

    joint, num_draws = True, 1

    def __init__(self, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, images: Tensor, targets: list[Boxes] | None, draws: Tensor) -> tuple[Tensor, list[Boxes] | None]:
        """Mirror the images ``[N, 3, H, W]`` and boxes whose random number in `draws`, ``[N, 1]``, is below `p`."""
        chosen = draws[:, 0] < self._p
        flipped = images.clone()
        flipped[chosen] = images[chosen].flip(-1)
        if targets is None:
            return flipped, None
        width = images.shape[-1]
        return flipped, [
            {"boxes": _mirrored(own["boxes"], width), "labels": own["labels"]} if flip else own
            for own, flip in zip(targets, chosen.tolist(), strict=True)
        ]


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([width - x1, y0, width - x0, y1], 1)
