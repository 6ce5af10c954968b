"""Mean average precision equals COCO's for any number of batches and processes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision as Theirs

from wf.errors import UsageError
from wf_torchvision.detection.average_precision import MeanAveragePrecision

NAMES = {"": "map", "/50": "map_50", "/75": "map_75", "/small": "map_small", "/medium": "map_medium"}
NAMES |= {"/large": "map_large", "/recall/100": "mar_100"}
SIDE = 120
Objects = dict[str, Tensor]


def images(seed: int, *, masks: bool = False) -> tuple[list[Objects], list[Objects]]:
    """Predictions and targets of seven images: some predictions are close to an object, and one image has no object."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    found, there = [], []
    for number in range(7):
        corners, sides = drawn(number, 2) * 60, 5 + drawn(number, 2) * 50
        own = {"boxes": torch.cat([corners, corners + sides], 1), "labels": (drawn(number) * 3).long()}
        near = (own["boxes"] + drawn(number, 4) * 6 - 3)[: number // 2 + 1]
        wild = torch.cat([drawn(4, 2) * 40, 50 + drawn(4, 2) * 60], 1)
        labels = torch.cat([own["labels"][: len(near)], (drawn(4) * 3).long()])
        found.append({"boxes": torch.cat([near, wild]), "labels": labels, "scores": drawn(len(labels))})
        there.append(own)
    if masks:
        for side in (*found, *there):
            side["masks"] = torch.stack([_filled(box) for box in side["boxes"]] or [torch.zeros(SIDE, SIDE)])
            side["masks"] = side["masks"][: len(side["boxes"])].to(torch.uint8)
    return found, there


def _filled(box: Tensor) -> Tensor:
    mask = torch.zeros(SIDE, SIDE)
    x0, y0, x1, y1 = box.round().long().clamp(min=0).tolist()
    mask[y0:y1, x0:x1] = 1
    return mask


def figures(metric: MeanAveragePrecision) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("masks", [False, True])
def test_average_precision_equals_torchmetrics(masks: bool) -> None:
    for seed in range(3):
        found, there = images(seed, masks=masks)
        own = MeanAveragePrecision(of="masks" if masks else "boxes", by_size=True)
        recalls = np.linspace(0, 1, 101).tolist()  # COCO's own; torchmetrics rounds them to float32
        theirs = Theirs(iou_type="segm" if masks else "bbox", rec_thresholds=recalls)
        first = 1 if masks else 0  # for masks, torchmetrics leaves out images without objects
        for begin, end in ((first, 3), (3, 7)):
            own.update(found[begin:end], there[begin:end])
            theirs.update(*([_boolean(one) for one in side[begin:end]] for side in (found, there)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = theirs.compute()
        assert set(figures(own)) == set(NAMES)
        for name, value in figures(own).items():
            like = float(wanted[NAMES[name]])
            assert value == pytest.approx(like if like >= 0 else math.nan, abs=1e-6, nan_ok=True), (seed, name)


def _boolean(one: Objects) -> Objects:
    return {**one, "masks": one["masks"].bool()} if "masks" in one else one


class Together:
    """A strategy that gathers the lists of two processes, in the order of the calls."""

    world_size = 2

    def __init__(self, parts: list[MeanAveragePrecision]) -> None:
        lists = [{name: torch.cat(kept) for name, kept in part._lists.items()} for part in parts]
        self.left = [torch.cat([one[name] for one in lists]) for name in lists[0]]

    def sum(self, tensors: list[Any]) -> list[Any]:
        return tensors

    def gather(self, tensor: Tensor) -> Tensor:
        return self.left.pop(0)


@pytest.mark.parametrize("of", ["boxes", "masks"])
def test_synced_processes_give_the_figure_of_one(of: Any) -> None:
    found, there = images(1, masks=True)
    whole, parts = MeanAveragePrecision(of=of), [MeanAveragePrecision(of=of) for _ in range(2)]
    whole.update(found, there)
    for rank, part in enumerate(parts):
        part.update(found[rank::2], there[rank::2])
    parts[0].sync(Together(parts))  # type: ignore[arg-type]  # it has all that is called
    assert figures(parts[0]) == pytest.approx(figures(whole), nan_ok=True)


def test_average_precision_without_predictions_and_without_objects() -> None:
    metric = MeanAveragePrecision()
    found, there = images(0)
    nothing = [{key: own[:0] for key, own in one.items()} for one in found]
    metric.update(nothing, there)
    assert figures(metric)[""] == 0
    metric.reset()
    metric.update(found, [{key: own[:0] for key, own in one.items()} for one in there])
    assert all(math.isnan(value) for value in figures(metric).values())


def test_per_class_figures_have_class_names() -> None:
    found, there = images(2)
    metric = MeanAveragePrecision(per_class=True, class_names=["a", "b", "c"])
    metric.update(found, there)
    own = {name: value for name, value in figures(metric).items() if name.startswith("/class/")}
    assert sorted(own) == ["/class/a", "/class/b", "/class/c"]
    assert sum(own.values()) / 3 == pytest.approx(figures(metric)[""])


def test_missing_masks_are_refused() -> None:
    found, there = images(0)
    with pytest.raises(UsageError, match="the model gives none"):
        MeanAveragePrecision(of="masks").update(found, there)
    with pytest.raises(UsageError, match=r"the dataset gives none\n  turn them on: --dataset.masks true"):
        MeanAveragePrecision(of="masks").update(images(0, masks=True)[0], there)
