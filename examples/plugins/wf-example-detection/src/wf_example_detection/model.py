"""A small detector that computes its own losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf import FromRun
from wf.errors import UsageError
from wf_example_detection.anchors import Squares
from wf_example_detection.boxes import Boxes, Found, overlaps

STRIDE = 4
"""The side of a grid cell in pixels."""
PRIOR = -3.0
"""The initial bias of the scores, because most cells are empty."""
SAME = 0.5
"""The IoU at which non-maximum suppression drops the box with the lower score."""
GAMMA = 2
"""The exponent of the focal loss."""


class GridDetector(nn.Module):
    """For each grid cell and each anchor it predicts a score per class, and the box of the object.

    With targets it returns its losses, without targets its detections.

    Args:
        num_classes: Number of classes.
        width: Channels of the first layer; later layers have more.
        most: Maximum number of detections in an image.
        min_score: Minimum score of a detection, from 0 to 1.
        anchors: Width and height of the anchors in pixels, ``[A, 2]``; by default a single square.
        class_names: The name of each class, for drawing detections.

    Raises:
        UsageError: If an option is out of range.
    """

    anchors: Tensor

    def __init__(
        self,
        num_classes: int,
        width: int = 24,
        most: int = 40,
        min_score: Annotated[float, FromRun("min_score")] = 0.05,
        anchors: Annotated[Tensor | None, FromRun("anchors")] = None,
        class_names: Annotated[list[str], FromRun("class_names")] = [],  # noqa: B006  # it is only read
    ) -> None:
        super().__init__()
        if width < 1 or most < 1:
            raise UsageError(f"width is {width} and most is {most}; both must be at least 1")
        if not 0 <= min_score <= 1:
            raise UsageError(f"min_score is {min_score}; it must be from 0 to 1")
        self._most, self._min_score, self._num_classes = most, min_score, num_classes
        self.class_names = tuple(class_names)
        self.register_buffer("anchors", Squares().sides() if anchors is None else anchors, persistent=False)
        self.layers = nn.Sequential(
            *_layer(3, width, 1),
            *_layer(width, 2 * width, 2),
            *_layer(2 * width, 3 * width, 2),
            *_layer(3 * width, 3 * width, 1),
        )
        num = len(self.anchors)
        self.scores, self.places = nn.Conv2d(3 * width, num * num_classes, 1), nn.Conv2d(3 * width, num * 4, 1)
        nn.init.constant_(_bias(self.scores), PRIOR)

    def forward(self, images: Tensor, targets: Sequence[Boxes] | None = None) -> dict[str, Tensor] | list[Found]:
        """The losses by name, or the detections in each image.

        Args:
            images: float ``[N, 3, H, W]``.
            targets: The objects in each image; None for detection.
        """
        layers = self.layers(images)
        split = (len(self.anchors), -1)
        scores, places = self.scores(layers).unflatten(1, split), self.places(layers).unflatten(1, split)
        return self._found(scores, places) if targets is None else self._losses(scores, places, targets)

    def _losses(self, scores: Tensor, places: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """The focal loss of the scores per sample, and the errors of centres and sizes per object.

        An object is assigned to the cell of its centre and the anchor with the most similar shape.
        """
        boxes, labels = (torch.cat([own[key] for own in targets]) for key in ("boxes", "labels"))
        counts = torch.tensor([len(own["boxes"]) for own in targets], device=labels.device)
        image = torch.arange(len(targets), device=labels.device).repeat_interleave(counts)
        middles = (boxes[:, :2] + boxes[:, 2:]) / (2 * STRIDE)
        x, y = middles.long().unbind(1)
        x, y = x.clamp(0, scores.shape[4] - 1), y.clamp(0, scores.shape[3] - 1)
        anchor = _alike(boxes[:, 2:] - boxes[:, :2], self.anchors).argmax(1)
        wanted = torch.zeros_like(scores)
        wanted[image, anchor, labels, y, x] = 1
        own = places[image, anchor, :, y, x]
        middle = functional.smooth_l1_loss(own[:, :2], middles - torch.stack([x, y], 1), reduction="sum", beta=0.1)
        sides = ((boxes[:, 2:] - boxes[:, :2]) / self.anchors[anchor]).log()
        size = functional.smooth_l1_loss(own[:, 2:], sides, reduction="sum", beta=0.1)
        each = functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        focal = each * (wanted - scores.detach().sigmoid()).abs() ** GAMMA
        num = max(len(boxes), 1)
        return {"score": focal.sum() / len(targets), "middle": middle / num, "size": size / num}

    def _found(self, scores: Tensor, places: Tensor) -> list[Found]:
        """The boxes with the highest scores, after non-maximum suppression."""
        scores = scores.sigmoid()
        height, width = scores.shape[3:]
        found: list[Found] = []
        for own, place in zip(scores, places, strict=True):
            values, cells = own.flatten().topk(min(self._most, own.numel()))
            cells = cells[values >= self._min_score]
            planes, cells = cells // (height * width), cells % (height * width)
            anchor, labels = planes // self._num_classes, planes % self._num_classes
            at = place.flatten(2)[anchor, :, cells]
            middles = STRIDE * (at[:, :2] + torch.stack([cells % width, cells // width], 1))
            halves = self.anchors[anchor] * at[:, 2:].clamp(max=5).exp() / 2
            boxes = torch.cat([middles - halves, middles + halves], 1)
            kept = (overlaps(boxes, boxes).triu(1) < SAME).all(0)
            found.append({"boxes": boxes[kept], "labels": labels[kept], "scores": values[: len(cells)][kept]})
        return found


def _alike(sides: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of boxes and anchors with equal centres, ``[M, A]``."""
    shared = torch.minimum(sides[:, None], anchors).prod(2)
    return shared / (sides.prod(1)[:, None] + anchors.prod(1) - shared)


def _layer(channels: int, into: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, into, 3, stride, 1), nn.GroupNorm(1, into), nn.ReLU()


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
