"""Declares everything in this package. Imports nothing heavy: targets are strings, loaded on first use."""

from __future__ import annotations

from wf import Command, Component, Condition, FileReader, Kind, Link, Param, Rule, RunValue, Task, hookimpl
from wf.traits import DatasetTraits, MetricTraits, ModelTraits, TransformTraits


@hookimpl
def wf_tasks() -> list[Task]:
    """Object detection."""
    return [
        Task(
            name="shape-detection",
            target="wf_example_detection.task:Detection",
            summary="boxes around objects, each with a class",
            targets=("shapes",),
            reads=("raw",),
            spatial=True,
            defaults={"model": "grid-detector", "metric": ("shape-map",), "monitor": "validation/shape-map"},
        )
    ]


@hookimpl
def wf_links() -> list[Link]:
    """Metrics get the boxes of a detector unchanged; there is no link to losses of classes or numbers."""
    return [
        Link(name="found-boxes", takes=("shapes",), gives="raw", summary="passes the boxes of a detector unchanged")
    ]


@hookimpl
def wf_kinds() -> list[Kind]:
    """Anchor generators."""
    return [Kind(name="anchor-generator", summary="makes the anchors (initial boxes) of a detector")]


@hookimpl
def wf_values() -> list[RunValue]:
    """The anchors of a run."""
    return [
        RunValue(
            name="anchors",
            type="torch.Tensor",
            summary="width and height of the anchors of a detector, [A, 2]",
            provider="wf_example_detection.anchors:anchors",
        )
    ]


@hookimpl
def wf_settings() -> list[Param]:
    """The minimum score of a detection."""
    return [
        Param(
            name="min_score",
            type=float,
            default=0.05,
            help="Minimum score of a detection, from 0 to 1.",
        )
    ]


@hookimpl
def wf_rules() -> list[Rule]:
    """Detection needs a detector."""
    return [
        Rule(
            name="finds-boxes",
            kind="model",
            against=("dataset", "task"),
            target="wf_example_detection.rules:finds_boxes",
            needs="targets",
            suggested=("model",),
            summary="shape detection needs a model that outputs boxes",
        )
    ]


@hookimpl
def wf_conditions() -> list[Condition]:
    """The version of the generated drawings."""
    return [
        Condition(
            name="drawings",
            summary="the version of the drawings; another version generates other drawings",
            means="other samples give other gradients",
            level="error",
            fix="install the wf-example-detection that the run was made with",
            target="wf_example_detection.dataset:edition",
        )
    ]


@hookimpl
def wf_readers() -> list[FileReader]:
    """Image formats that the dataset's reader does not read."""
    return [
        FileReader(
            name="bitmaps",
            endings=(".bmp", ".gif", ".ppm", ".webp"),
            target="wf_example_detection.dataset:read_image",
            summary="images in further formats, as uint8 [1, 3, height, width]",
        )
    ]


@hookimpl
def wf_commands() -> list[Command]:
    """A command that draws boxes."""
    return [
        Command(
            name="show-boxes",
            section="Use a run",
            summary="Draw the boxes that a run's detector finds in images.",
            target="wf_example_detection.commands:show_boxes",
            order=55,
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """A dataset, a transform, a model, a metric and two anchor generators."""
    return [
        Component(
            "dataset",
            "drawings",
            "wf_example_detection.dataset:drawings",
            summary="images of 0 to 20 discs and squares, with their boxes",
            traits=DatasetTraits(
                targets="shapes",
                task="shape-detection",
                inputs="image",
                transforms=("flip-boxes",),
                reader="wf_example_detection.dataset:ImageReader",
            ),
        ),
        Component(
            "transform",
            "flip-boxes",
            "wf_example_detection.transform:FlipBoxes",
            summary="mirrors half of the images, together with their boxes",
            traits=TransformTraits(
                train_only=True, inputs="image", gives="same", moves=True, joint=True, targets=("shapes",)
            ),
        ),
        Component(
            "model",
            "grid-detector",
            "wf_example_detection.model:GridDetector",
            summary="a small detector: scores and a box for each grid cell and anchor",
            traits=ModelTraits(predictions="shapes", inputs="image"),
        ),
        Component(
            "metric",
            "shape-map",
            "wf_example_detection.metric:MeanAveragePrecision",
            summary="mean average precision, also at an IoU of 0.5, and recall",
            traits=MetricTraits(targets=("shapes",), larger_is_better=True),
        ),
        Component(
            "anchor-generator",
            "squares",
            "wf_example_detection.anchors:Squares",
            summary="squares of the given sizes",
            default=True,
        ),
        Component(
            "anchor-generator",
            "rectangles",
            "wf_example_detection.anchors:Rectangles",
            summary="rectangles of equal area and different shapes",
        ),
    ]
