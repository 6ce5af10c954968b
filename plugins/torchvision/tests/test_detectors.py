"""The detectors of torchvision: their labels, losses, options and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model_builder

from wf.errors import DataError, UsageError
from wf_base.tree import Rows
from wf_torchvision.detection.detectors import FAMILY, REFUSED, build
from wf_torchvision.models import names

SSD = "ssdlite320_mobilenet_v3_large"
SMALL: dict[str, Any] = {"num_classes": 2, "image_size": 64}
MASKS = torch.zeros(1, 40, 50, dtype=torch.uint8)
MASKS[0, 5:30, 5:30] = 1
TARGETS = [
    {"boxes": torch.tensor([[5.0, 5.0, 30.0, 30.0]]), "labels": torch.tensor([1]), "masks": MASKS},
    {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64), "masks": MASKS[:0]},
]


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 40, 50, generator=generator), torch.rand(3, 30, 30, generator=generator)]


def trains_and_finds(model: Any) -> None:
    targets = [TARGETS[0], {**TARGETS[1], "masks": TARGETS[1]["masks"][:, :30, :30]}]
    losses = model.train()(Rows(images()), Rows(targets))
    total = sum(losses.values())
    total.backward()
    assert bool(torch.isfinite(total))
    assert targets[0]["labels"].tolist() == [1], "the targets of the dataset are not changed"
    with torch.no_grad():
        found = model.eval()(Rows(images()))
    assert isinstance(found, Rows)
    for one, image in zip(found, images(), strict=True):
        assert {"boxes", "labels", "scores"} <= set(one)
        assert bool((one["labels"] >= 0).all() and (one["labels"] < 2).all())
        assert bool((one["boxes"][:, 2:] <= torch.tensor([image.shape[2], image.shape[1]])).all())


def test_detectors_equal_torchvisions_with_labels_from_0() -> None:
    torch.manual_seed(0)
    model = build(SSD, **SMALL, min_score=0.0, max_objects=7)
    torch.manual_seed(0)
    theirs = get_model_builder(SSD)(weights=None, weights_backbone=None, num_classes=3)
    theirs.transform.fixed_size, theirs.score_thresh, theirs.detections_per_img = (64, 64), 0.0, 7
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in theirs.state_dict().items())
    background = [{**one, "labels": one["labels"] + 1} for one in TARGETS]
    own, wanted = model.train()(images(), TARGETS), theirs.train()(images(), background)
    assert {name: float(loss.detach()) for name, loss in own.items()} == {
        name: float(loss.detach()) for name, loss in wanted.items()
    }
    with torch.no_grad():
        found, wanted = model.eval()(images=images()), theirs.eval()(images())
    for one, other in zip(found, wanted, strict=True):
        assert len(one["boxes"]) == 7
        assert torch.equal(one["boxes"], other["boxes"])
        assert torch.equal(one["labels"] + 1, other["labels"])


def test_the_smallest_one_trains() -> None:
    trains_and_finds(build(SSD, **SMALL))


OTHERS = sorted(name for name, family in names().items() if family == FAMILY and name not in (SSD, *REFUSED))
TWO_STAGES = ("fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if name in TWO_STAGES else pytest.mark.catalogue)
        for name in OTHERS
    ],
)
def test_every_other_detector_trains(name: str) -> None:
    options: dict[str, Any] = {"num_regions": 16} if "rcnn" in name else {}
    trains_and_finds(build(name, **SMALL, **options))


@pytest.mark.exhaustive
def test_masks_are_needed_and_given() -> None:
    model = build("maskrcnn_resnet50_fpn", **SMALL, num_regions=8, min_score=0.0, max_objects=3)
    with pytest.raises(UsageError, match=r"but the dataset gives only boxes\n.*--dataset\.masks true"):
        model.train()(images(), [{key: one[key] for key in ("boxes", "labels")} for one in TARGETS])
    with torch.no_grad():
        found = model.eval()(images())[0]
    assert found["masks"].shape[1:] == (1, 40, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is 0; it must be at least 1"),
        ({"max_objects": 0}, "max_objects is 0"),
        ({"min_score": 1.5}, "min_score is 1.5; it must be from 0 to 1"),
        ({"norm_momentum": -1.0}, "norm_momentum is -1"),
        ({"num_regions": 8}, "has no second stage: leave num_regions out"),
        ({"weights": Path("COCO_V7")}, "unknown weights 'COCO_V7'"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(SSD, num_classes=2, **options)


def test_norm_momentum_applies_to_every_batch_norm() -> None:
    model = build(SSD, **SMALL, norm_momentum=0.2)
    assert {one.momentum for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)} == {0.2}


def test_keypoint_models_are_refused() -> None:
    with pytest.raises(UsageError, match="key points"):
        build("keypointrcnn_resnet50_fpn", num_classes=2)


def test_weights_are_loaded_except_for_the_classification_layers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "weights.pth"
    torch.manual_seed(1)
    given = get_model_builder(SSD)(weights=None, weights_backbone=None, num_classes=5).state_dict()
    torch.save(given, file)
    with caplog.at_level("INFO", "wf.torchvision"):
        few, same = build(SSD, num_classes=2, weights=file), build(SSD, num_classes=4, weights=file)
    assert all(torch.equal(value, given[name]) for name, value in same.state_dict().items())
    differ = {name for name, value in few.state_dict().items() if not torch.equal(value, given[name])}
    assert differ
    assert all(name.startswith("head.classification_head") for name in differ)
    assert "reinitialized, for 2 classes: head.classification_head.module_list.0.1" in caplog.text
    assert "classification layers unchanged" in caplog.text
    del given["head.regression_head.module_list.0.1.bias"]
    torch.save(given, file)
    with pytest.raises(DataError, match="does not fit SSD"):
        build(SSD, num_classes=2, weights=file)


@pytest.mark.exhaustive
def test_batch_norm_of_a_pretrained_backbone_stays_frozen(tmp_path: Path) -> None:
    name, file = "fasterrcnn_mobilenet_v3_large_320_fpn", tmp_path / "weights.pth"
    torch.save(get_model_builder(name)(weights=None, weights_backbone=None, num_classes=3).state_dict(), file)
    model = build(name, **SMALL, num_regions=8, weights=file)
    assert not [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    trains_and_finds(model)
