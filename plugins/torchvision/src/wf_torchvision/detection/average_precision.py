"""Mean average precision of boxes and masks, by COCO's own code (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from wf import FromRun
from wf.errors import UsageError
from wf_base import Metric
from wf_torchvision.detection.masks import area, encoded

FIGURES = {"": 0, "/50": 1, "/75": 2, "/recall/100": 8}
"""The index of each figure among the twelve numbers of COCO's code."""
BY_SIZE = {"/small": 3, "/medium": 4, "/large": 5}
"""Likewise, for objects by size."""
SURE = 0.5
"""The minimum probability of a pixel that belongs to an object."""


class MeanAveragePrecision(Metric):
    """The area under precision over recall, the mean over classes and over overlaps (IoU) from 0.5 to 0.95.

    Its other figures: ``/50`` and ``/75`` at one overlap; ``/recall/100``, the share of objects found by the 100 most
    confident predictions of an image. Without any object they are nan.

    Args:
        of: The objects to compare: ``boxes``, or ``masks`` of models that predict them.
        by_size: Whether to add ``/small``, ``/medium`` and ``/large``, for objects below 32x32, below 96x96 and with
            more pixels; nan without such objects.
        per_class: Whether to add the mean average precision of each class, as ``/class/NAME``.
        class_names: The names of the classes.
    """

    figures: ClassVar[Mapping[str, bool | None] | None] = dict.fromkeys(FIGURES, True)

    def __init__(
        self,
        of: Literal["boxes", "masks"] = "boxes",
        by_size: bool = False,
        per_class: bool = False,
        class_names: Annotated[list[str], FromRun("class_names")] = [],  # noqa: B006  # it is only read
    ) -> None:
        super().__init__()
        self._of, self._per_class, self._class_names = of, per_class, tuple(class_names)
        self._shown = {**FIGURES, **(BY_SIZE if by_size else {})}
        classes = [f"/class/{name}" for name in self._class_names] if per_class else []
        self.figures = dict.fromkeys([*self._shown, *classes], True)  # type: ignore[misc]  # the options say which

    def update(self, predictions: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:  # type: ignore[override]
        """Update with the predicted and true objects of a batch.

        Raises:
            UsageError: If masks should be compared, but there are none.
        """
        for name, rows in (("found", predictions), ("there", targets)):
            device = rows[0]["labels"].device  # the device on which processes exchange their states
            self.append(f"{name}-num", torch.tensor([len(own["labels"]) for own in rows], device=device))
            self.append(name, torch.cat([_numbers(own) for own in rows]))
            if self._of == "masks":
                codes = [code for own in rows for code in _codes(own, name)]
                text = np.frombuffer(b"".join(codes), dtype=np.uint8).copy()
                self.append(f"{name}-codes", torch.from_numpy(text).to(device))
                lengths = torch.tensor([len(code) for code in codes], dtype=torch.int64, device=device)
                self.append(f"{name}-lengths", lengths)
        if self._of == "masks":
            self.append("sizes", torch.tensor([own["masks"].shape[-2:] for own in targets], device=device))

    def compute(self) -> Mapping[str, Tensor]:
        """The mean average precision, and its other figures."""
        there = self._tables("there")
        if not there:
            return {name: torch.tensor(torch.nan) for name in self.figures or ()}
        labels = sorted({one["category_id"] for one in there})
        found, num = self._tables("found"), len(self.values("there-num"))
        _number_by_content(num, there, found)
        evaluation = _evaluated(there, found, num, labels, self._of)
        figures = {name: _figure(evaluation.stats[place]) for name, place in self._shown.items()}
        if self._per_class:
            precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [overlaps, recalls, classes], all sizes
            for label, name in enumerate(self._class_names):
                own = precision[:, :, labels.index(label)] if label in labels else precision[:0]
                figures[f"/class/{name}"] = _figure(own[own > -1].mean() if (own > -1).any() else -1)
        return figures

    def _tables(self, name: str) -> list[dict[str, Any]]:
        """The objects in the form for COCO's code."""
        counts = self.values(f"{name}-num").cpu()
        images = torch.arange(len(counts)).repeat_interleave(counts).tolist()
        tables = []
        for number, (image, (label, score, x0, y0, x1, y1)) in enumerate(
            zip(images, self.values(name).tolist(), strict=True)
        ):
            table = {"id": number + 1, "image_id": image, "category_id": int(label), "score": score, "iscrowd": 0}
            tables.append({**table, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)})
        if self._of == "masks":
            sizes = self.values("sizes").tolist()
            for table, code in zip(tables, self._split_codes(name), strict=True):
                table["segmentation"] = {"size": sizes[table["image_id"]], "counts": code}
                table["area"] = area(table["segmentation"])
        return tables

    def _split_codes(self, name: str) -> Iterator[bytes]:
        text, begin = self.values(f"{name}-codes").cpu().numpy().tobytes(), 0
        for length in self.values(f"{name}-lengths").tolist():
            yield text[begin : begin + length]
            begin += length


def _numbers(own: Mapping[str, Tensor]) -> Tensor:
    """Label, score and corners of each object, float32 ``[M, 6]``; true objects have the score 1."""
    labels = own["labels"].to(torch.float32)[:, None]
    scores = own["scores"].to(torch.float32)[:, None] if "scores" in own else torch.ones_like(labels)
    return torch.cat([labels, scores, own["boxes"].to(torch.float32)], 1)


def _codes(own: Mapping[str, Tensor], name: str) -> Iterator[bytes]:
    """Each mask, run-length encoded."""
    if "masks" not in own:
        raise UsageError(
            "metric 'map' compares masks, but the model gives none"
            if name == "found"
            else "metric 'map' compares masks, but the dataset gives none\n  turn them on: --dataset.masks true"
        )
    masks = own["masks"].cpu()
    masks = (masks.squeeze(1) if masks.ndim == 4 else masks) >= SURE
    for mask in masks:
        yield encoded(mask.numpy().astype(np.uint8))


def _number_by_content(num: int, *sides: list[dict[str, Any]]) -> None:
    """Number the images by their content: COCO's code orders equal scores by the order of the images."""
    rows: list[list[tuple[float, ...]]] = [[] for _ in range(num)]
    for table in (table for tables in sides for table in tables):
        rows[table["image_id"]].append((table["category_id"], table["score"], *table["bbox"]))
    places = {image: place for place, image in enumerate(sorted(range(num), key=lambda image: rows[image]))}
    for table in (table for tables in sides for table in tables):
        table["image_id"] = places[table["image_id"]]


def _evaluated(
    there: list[dict[str, Any]], found: list[dict[str, Any]], num_images: int, labels: Sequence[int], of: str
) -> Any:
    """COCO's evaluation, with its figures; its printed output is discarded."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for tables in (there, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": number, "height": 0, "width": 0} for number in range(num_images)],  # masks say it
                "categories": [{"id": label} for label in labels],
                "annotations": tables,
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="bbox" if of == "boxes" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _figure(value: float) -> Tensor:
    """A figure; COCO's -1 means nan."""
    return torch.tensor(float(value) if value > -1 else torch.nan, dtype=torch.float64)
