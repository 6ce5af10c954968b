"""The detectors of torchvision: they predict boxes, Mask R-CNN also masks, and compute their own losses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor, nn
from torchvision.models import get_model_builder
from torchvision.models.detection import FCOS, MaskRCNN, RetinaNet
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d

from wf import FromRun
from wf.errors import UsageError
from wf_base.tree import Rows
from wf_torchvision.heads import follow_batches
from wf_torchvision.weights import Source, entry_of, find, load, put_into

_log = logging.getLogger("wf.torchvision")  # below "wf": told unless the run is quiet

FAMILY = "detection"
REFUSED = {"keypointrcnn_resnet50_fpn": "it gives key points, and wf has no such task"}
"""Detectors without a task in wf, with the reason."""
_FIXED_NORMS = (
    *("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn"),
    *("fcos_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"),
)
"""Detectors whose backbone freezes batch norm with pretrained weights: small batches would spoil it."""
_WITHOUT_EPS = tuple(f"{name}_ResNet50_FPN_Weights.COCO_V1" for name in ("FasterRCNN", "MaskRCNN", "RetinaNet"))
"""Weights that were trained when their batch norm had no epsilon."""
_WITHOUT_BACKGROUND = (FCOS, RetinaNet)
"""Detectors whose classes begin at 0; for the others class 0 is the background."""


def build(
    name: str,
    num_classes: int,
    image_size: int | None = None,
    min_score: float | None = None,
    max_objects: int | None = None,
    num_regions: int | None = None,
    norm_momentum: float | None = None,
    weights: Path | None = None,
    restored: Annotated[bool, FromRun("restored")] = False,
) -> nn.Module:
    """A detector of torchvision, as torchvision's own module with its state_dict keys.

    It takes a list of images ``[3, H, W]`` from 0 to 1, of any sizes, and resizes and normalizes them itself; boxes
    are in pixels of the original images. Labels are the dataset's, from 0. In training it takes targets and returns
    its losses. ``maskrcnn_...`` needs masks: ``--dataset.masks true``.

    Args:
        name: Name of the model in torchvision, such as ``fasterrcnn_resnet50_fpn``.
        num_classes: The number of classes of the dataset, without the background.
        image_size: The size to which images are resized: the shorter side in pixels, keeping the aspect ratio (800 or
            320 by default); for ``ssd...`` both sides (300 or 320).
        min_score: The minimum score of a box; by default torchvision's, from 0.001 to 0.2.
        max_objects: The maximum number of objects in an image; by default torchvision's, 100 to 300.
        num_regions: Regions of an image that the second stage of ``fasterrcnn_...`` and ``maskrcnn_...`` is trained on
            (512 by default); fewer are faster.
        norm_momentum: The momentum of the running statistics of batch norm: 0.01 to 0.1 by default. Runs of a few
            hundred steps from scratch need 0.1, because evaluations use these statistics.
        weights: ``default`` for torchvision's weights, trained on COCO, a name for others, or a file with a state_dict
            of this architecture; by default random weights. The classification layers are reinitialized unless their
            number of classes matches, and the backbone's batch norm is frozen.
        restored: Whether a run's weights will be loaded, so that pretrained ones are not needed.

    Raises:
        UsageError: For an unknown name or an option out of range.
        DataError: For weights that are not found, cannot be downloaded or do not fit.
    """
    owner = f"model 'torchvision/{name}'"
    if name in REFUSED:
        raise UsageError(f"{owner} cannot be used: {REFUSED[name]}")
    given = {"image_size": image_size, "max_objects": max_objects, "num_regions": num_regions}
    for option, number in given.items():
        if number is not None and number < 1:
            raise UsageError(f"{owner}: {option} is {number}; it must be at least 1")
    if min_score is not None and not 0 <= min_score <= 1:
        raise UsageError(f"{owner}: min_score is {min_score}; it must be from 0 to 1")
    source = None if restored else find(name, weights)
    model = _made(name, num_classes) if source is None else _trained(name, num_classes, source)
    if weights is not None and name in _FIXED_NORMS:
        _fix_norms(model.backbone, eps=0.0 if str(entry_of(name, str(weights))) in _WITHOUT_EPS else 1e-5)
    if image_size is not None:
        _resize(model, image_size)
    _choose(model, owner, min_score=min_score, max_objects=max_objects, num_regions=num_regions)
    follow_batches(model, norm_momentum, owner)
    model.register_forward_pre_hook(_prepared, with_kwargs=True)
    model.register_forward_hook(_found)
    return model


def _made(name: str, num_classes: int) -> nn.Module:
    """The architecture with new weights."""
    background = 0 if name.startswith(("fcos", "retinanet")) else 1
    made: nn.Module = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=num_classes + background)
    assert isinstance(made, _WITHOUT_BACKGROUND) == (background == 0)
    return made


def _trained(name: str, num_classes: int, source: Source) -> nn.Module:
    """The architecture with the weights of a source, except classification layers with another number of classes."""
    state = load(name, source, 0)
    model = _made(name, num_classes)
    own = model.state_dict()
    differs = [key for key, value in state.items() if key in own and own[key].shape != value.shape]
    put_into(model, {key: own[key] if key in differs else value for key, value in state.items()}, source)
    shown = sorted({key.rpartition(".")[0] for key in differs})
    head = f"reinitialized, for {num_classes} classes: {', '.join(shown)}" if shown else "unchanged"
    _log.info("pretrained: %s; classification layers %s", source.title, head)
    return model


def _fix_norms(module: Any, eps: float) -> None:
    """Replace batch norm by frozen batch norm, as torchvision does."""
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            _fix_norms(child, eps)
            continue
        fixed = FrozenBatchNorm2d(child.num_features, eps)
        fixed.load_state_dict(child.state_dict())
        setattr(module, name, fixed)


def _resize(model: Any, size: int) -> None:
    """Make the model resize images to another size than its default."""
    transform = model.transform
    if isinstance(model, SSD):
        transform.fixed_size = (size, size)
        return
    ratio = transform.max_size / transform.min_size[-1]
    transform.min_size, transform.max_size = (size,), round(size * ratio)


def _choose(
    model: Any, owner: str, *, min_score: float | None, max_objects: int | None, num_regions: int | None
) -> None:
    """Set the limits on detections, and the number of regions for training the second stage."""
    two_stages = isinstance(model, FasterRCNN)
    place = model.roi_heads if two_stages else model
    if min_score is not None:
        place.score_thresh = min_score
    if max_objects is not None:
        place.detections_per_img = max_objects
    if num_regions is not None:
        if not two_stages:
            raise UsageError(f"{owner} has no second stage: leave num_regions out")
        model.roi_heads.fg_bg_sampler.batch_size_per_image = num_regions


def _prepared(model: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Images and targets in torchvision's form: for most detectors label 0 is the background.

    Raises:
        UsageError: For targets without masks, if the model is trained on masks.
    """
    given = dict(zip(("images", "targets"), args, strict=False)) | named
    images, targets = given["images"], given.get("targets")
    if targets is None:
        return (images,), {}
    if isinstance(model, MaskRCNN) and any("masks" not in own for own in targets):
        raise UsageError(
            "Mask R-CNN is trained on masks, but the dataset gives only boxes\n"
            "  turn them on: --dataset.masks true, or use a model fasterrcnn_..."
        )
    return (list(images), [{**own, "labels": own["labels"] + _first_label(model)} for own in targets]), {}


def _first_label(model: nn.Module) -> int:
    return 0 if isinstance(model, _WITHOUT_BACKGROUND) else 1


def _found(
    model: nn.Module, args: Any, outputs: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
) -> Mapping[str, Tensor] | Rows:
    """The detections of each image, with the dataset's labels; losses are unchanged."""
    if isinstance(outputs, Mapping):
        return outputs
    return Rows({**own, "labels": own["labels"] - _first_label(model)} for own in outputs)
