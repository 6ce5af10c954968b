"""A small detector, which computes its own losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf.errors import UsageError
from wf_example_detection.boxes import Boxes, Found, overlaps

STRIDE = 4
"""A cell of the grid has so many pixels a side."""
PRIOR = -3.0
"""The bias of the scores at first: most cells are empty."""
SAME = 0.5
"""The IoU from which on two boxes are taken for those of one object."""
GAMMA = 2
"""The exponent of the focal loss: cells that are sure already count less."""


class GridDetector(nn.Module):
    """For each cell of a grid a score a class that the middle of an object lies in it, and the object's box.

    In training, where it is given what there is in the images, it gives its losses; else what it finds.

    Args:
        num_classes: Classes.
        width: Channels of the first layer; the others have more.
        most: The most objects that it finds in an image.
        least: The score that an object has at least.
    """

    def __init__(self, num_classes: int, width: int = 24, most: int = 40, least: float = 0.05) -> None:
        super().__init__()
        if width < 1 or most < 1:
            raise UsageError(f"width is {width} and most is {most}; both must be at least 1")
        self._most, self._least = most, least
        self.layers = nn.Sequential(
            *_layer(3, width, 1),
            *_layer(width, 2 * width, 2),
            *_layer(2 * width, 3 * width, 2),
            *_layer(3 * width, 3 * width, 1),
        )
        self.scores, self.places = nn.Conv2d(3 * width, num_classes, 1), nn.Conv2d(3 * width, 4, 1)
        nn.init.constant_(_bias(self.scores), PRIOR)

    def forward(self, images: Tensor, targets: Sequence[Boxes] | None = None) -> dict[str, Tensor] | list[Found]:
        """The losses by name, or what is found in each image.

        Args:
            images: float ``[N, 3, H, W]``.
            targets: What there is in each; None where that is not known.
        """
        layers = self.layers(images)
        scores, places = self.scores(layers), self.places(layers)
        return self._found(scores, places) if targets is None else self._losses(scores, places, targets)

    def _losses(self, scores: Tensor, places: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """The focal loss of the scores, a sample; the errors of middles and of sizes, an object."""
        boxes, labels = (torch.cat([own[key] for own in targets]) for key in ("boxes", "labels"))
        counts = torch.tensor([len(own["boxes"]) for own in targets], device=labels.device)
        image = torch.arange(len(targets), device=labels.device).repeat_interleave(counts)
        middles = (boxes[:, :2] + boxes[:, 2:]) / (2 * STRIDE)
        x, y = middles.long().unbind(1)
        x, y = x.clamp(0, scores.shape[3] - 1), y.clamp(0, scores.shape[2] - 1)
        wanted = torch.zeros_like(scores)
        wanted[image, labels, y, x] = 1
        own = places[image, :, y, x]
        middle = functional.smooth_l1_loss(own[:, :2], middles - torch.stack([x, y], 1), reduction="sum", beta=0.1)
        sides = ((boxes[:, 2:] - boxes[:, :2]) / STRIDE).log()
        size = functional.smooth_l1_loss(own[:, 2:], sides, reduction="sum", beta=0.1)
        each = functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        focal = each * (wanted - scores.detach().sigmoid()).abs() ** GAMMA
        num = max(len(boxes), 1)
        return {"score": focal.sum() / len(targets), "middle": middle / num, "size": size / num}

    def _found(self, scores: Tensor, places: Tensor) -> list[Found]:
        """The boxes of the cells with the highest scores, but for those that say a surer one again."""
        scores = scores.sigmoid()
        height, width = scores.shape[2:]
        found: list[Found] = []
        for own, place in zip(scores, places, strict=True):
            values, cells = own.flatten().topk(min(self._most, own.numel()))
            cells = cells[values >= self._least]
            labels, cells = cells // (height * width), cells % (height * width)
            at = place.flatten(1)[:, cells]
            middles = STRIDE * (at[:2] + torch.stack([cells % width, cells // width])).T
            halves = STRIDE * at[2:].clamp(max=5).exp().T / 2
            boxes = torch.cat([middles - halves, middles + halves], 1)
            kept = (overlaps(boxes, boxes).triu(1) < SAME).all(0)
            found.append({"boxes": boxes[kept], "labels": labels[kept], "scores": values[: len(cells)][kept]})
        return found


def _layer(channels: int, into: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, into, 3, stride, 1), nn.GroupNorm(1, into), nn.ReLU()


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
