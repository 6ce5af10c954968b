"""A metric with several figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from wf_base import Metric
from wf_example_detection.boxes import Boxes, Found, overlaps

LEVELS = tuple(0.5 + 0.05 * step for step in range(10))
"""The minimum IoU of a detection with an object."""


class MeanAveragePrecision(Metric):
    """Mean average precision: the area under precision over recall, averaged over classes and IoUs from 0.5 to 0.95.

    Its other figures are ``50``, the mean average precision at an IoU of 0.5, and ``recall``, the share of objects
    found at that IoU.
    """

    figures: ClassVar[dict[str, bool | None]] = {"": True, "50": True, "recall": True}

    def update(self, predictions: Sequence[Found], targets: Sequence[Boxes]) -> None:  # type: ignore[override]
        """Update with the detections and the objects of each image of a batch."""
        rows = [_matched(found, own) for found, own in zip(predictions, targets, strict=True)]
        self.append("found", torch.cat([torch.cat(row, 1) for row in rows]))
        self.append("objects", torch.cat([own["labels"] for own in targets]))

    def compute(self) -> Mapping[str, Tensor]:
        """The mean average precision (``""``), ``50`` and ``recall``, each 0-d."""
        found, objects = self.values("found"), self.values("objects")
        label, score, right = found[:, 0], found[:, 1], found[:, 2:]
        order = score.argsort(descending=True, stable=True)
        label, score, right = label[order], score[order], right[order]
        classes = ((label == one, int((objects == one).sum())) for one in objects.unique())
        each = [_areas(score[own], right[own], num) for own, num in classes]
        means = torch.stack(each).mean(0) if each else found.new_full((len(LEVELS),), torch.nan)
        return {"": means.mean(), "50": means[0], "recall": right[:, 0].sum() / len(objects)}


def _matched(found: Found, objects: Boxes) -> tuple[Tensor, Tensor, Tensor]:
    """The label and the score of each detection, and whether it is correct at each level.

    Detections are matched in the order of their scores: each to the unmatched object of its class with the highest IoU.
    """
    shared = overlaps(found["boxes"], objects["boxes"])
    shared = torch.where(found["labels"][:, None] == objects["labels"], shared, 0)
    levels = shared.new_tensor(LEVELS)[:, None]
    right = shared.new_zeros(len(shared), len(LEVELS))
    free = torch.ones(len(LEVELS), shared.shape[1], dtype=torch.bool, device=shared.device)
    for row in found["scores"].argsort(descending=True, stable=True).tolist() if shared.shape[1] else ():
        most, best = torch.where(free, shared[row], 0).max(1, keepdim=True)
        hit = most >= levels
        right[row] = hit[:, 0]
        free.scatter_(1, best, free.gather(1, best) & ~hit)
    return found["labels"][:, None].to(right), found["scores"][:, None].to(right), right


def _areas(scores: Tensor, right: Tensor, num: int) -> Tensor:
    """The area under the precision-recall curve of one class at each level, with `num` objects.

    Detections with equal scores count together, so that their order does not matter.
    """
    if not len(scores):
        return right.sum(0)
    ends = scores.unique_consecutive(return_counts=True)[1].cumsum(0)
    hits = right.cumsum(0)[ends - 1]
    best = (hits / ends[:, None]).flip(0).cummax(0).values.flip(0)
    area: Tensor = (best * hits.diff(dim=0, prepend=torch.zeros_like(hits[:1]))).sum(0)
    return area / num
