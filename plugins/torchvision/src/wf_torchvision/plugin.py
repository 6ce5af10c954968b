"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import DatasetTraits, MetricTraits, ModelTraits, TransformTraits

_CLASSES = DatasetTraits(targets="class_index", inputs="image", reader="wf_torchvision.reader:ImageReader")


@hookimpl
def wf_components() -> list[Catalogue | Component]:
    """torchvision's models, transforms and datasets; datasets and a metric in the format of COCO."""
    return [
        Catalogue(
            "model",
            "torchvision",
            "wf_torchvision.models:build",
            "wf_torchvision:models.txt",
            summary="a model of torchvision",
            traits=ModelTraits(inputs="image", per="sample", wants="wf_torchvision.wishes:wants"),
            groups={
                "video": ModelTraits(inputs="video", per="sample"),
                "segmentation": ModelTraits(inputs="image", per="pixel"),
                "detection": ModelTraits(predictions="boxes", inputs="image"),
            },
            targets={"detection": "wf_torchvision.detection.detectors:build"},
        ),
        Catalogue(
            "transform",
            "torchvision",
            "wf_torchvision.transforms:build",
            "wf_torchvision:transforms.txt",
            summary="a transform of torchvision (v2)",
            traits=TransformTraits(inputs="image", gives="image"),
            groups={
                "preset": TransformTraits(inputs="image", gives="image"),
                "fixed": TransformTraits(inputs="image", gives="image", moves=False),
                "fixed-moving": TransformTraits(inputs="image", gives="image", moves=True),
                "random": TransformTraits(inputs="image", gives="image", train_only=True, moves=False),
                "random-moving": TransformTraits(inputs="image", gives="image", train_only=True, moves=True),
            },
            like="wf_torchvision.transforms:described",
        ),
        Catalogue(
            "dataset",
            "torchvision",
            "wf_torchvision.datasets:make",
            "wf_torchvision:datasets.txt",
            summary="a classification dataset of torchvision",
            traits=_CLASSES,
            groups={"plain": _CLASSES},
            like="wf_torchvision.datasets:described",
        ),
        Component(
            "dataset",
            "coco",
            "wf_torchvision.detection.coco:coco",
            "images with boxes around objects, and their masks, in the format of COCO",
            traits=DatasetTraits(
                targets="boxes",
                task="detection",
                inputs="image",
                reader="wf_torchvision.detection.coco:PhotoReader",
            ),
        ),
        Component(
            "dataset",
            "coco-masks",
            "wf_torchvision.detection.coco:coco_masks",
            "images with the class of each pixel, from masks in the format of COCO",
            traits=DatasetTraits(
                targets="mask", inputs="image", reader="wf_torchvision.detection.coco:SizedPhotoReader"
            ),
        ),
        Component(
            "metric",
            "map",
            "wf_torchvision.detection.average_precision:MeanAveragePrecision",
            "mean average precision of boxes or masks, computed by COCO's code",
            traits=MetricTraits(targets=("boxes",), larger_is_better=True),
        ),
    ]
