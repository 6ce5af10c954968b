"""What this package brings to wf. Imports nothing heavy: the targets are strings, loaded on first use."""

from __future__ import annotations

from wf import Component, Task, hookimpl
from wf.traits import DatasetTraits, MetricTraits, ModelTraits, TransformTraits


@hookimpl
def wf_tasks() -> list[Task]:
    """Object detection."""
    return [
        Task(
            name="detection",
            target="wf_example_detection.task:Detection",
            summary="boxes around objects, each with a class",
            targets=("boxes",),
            reads=("raw",),
            spatial=True,
            defaults={"model": "grid-detector", "metric": ("map",), "monitor": "validation/map"},
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """A dataset, a transform, a model and a metric."""
    return [
        Component(
            "dataset",
            "drawings",
            "wf_example_detection.dataset:drawings",
            summary="discs and squares, 0 to 20 in an image, and their boxes",
            traits=DatasetTraits(
                targets="boxes",
                task="detection",
                inputs="image",
                transforms=("flip-boxes",),
                reader="wf_example_detection.dataset:ImageReader",
            ),
        ),
        Component(
            "transform",
            "flip-boxes",
            "wf_example_detection.transform:FlipBoxes",
            summary="mirrors half of the images, and their boxes with them",
            traits=TransformTraits(
                train_only=True, inputs="image", gives="same", moves=True, joint=True, targets=("boxes",)
            ),
        ),
        Component(
            "model",
            "grid-detector",
            "wf_example_detection.model:GridDetector",
            summary="a small detector: a score a class, and a box, for each cell of a grid",
            traits=ModelTraits(inputs="image"),
        ),
        Component(
            "metric",
            "map",
            "wf_example_detection.metric:MeanAveragePrecision",
            summary="mean average precision, that at an IoU of 0.5, and the recall",
            traits=MetricTraits(targets=("boxes",), larger_is_better=True),
        ),
    ]
