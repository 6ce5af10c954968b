"""What this package brings to wf. Imports nothing heavy: the targets are strings, loaded on first use."""

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
    """What detectors give is judged as it is; it becomes nothing that a loss of classes or numbers could take."""
    return [
        Link(name="found-boxes", takes=("shapes",), gives="raw", summary="boxes that a detector finds stay as they are")
    ]


@hookimpl
def wf_kinds() -> list[Kind]:
    """Anchor generators."""
    return [Kind(name="anchor-generator", summary="makes the boxes that a detector starts from")]


@hookimpl
def wf_values() -> list[RunValue]:
    """The anchors of a run."""
    return [
        RunValue(
            name="anchors",
            type="torch.Tensor",
            summary="width and height of the boxes that a detector starts from, [A, 2]",
            provider="wf_example_detection.anchors:anchors",
        )
    ]


@hookimpl
def wf_settings() -> list[Param]:
    """The score from which on a detector calls something an object."""
    return [
        Param(
            name="min_score",
            type=float,
            default=0.05,
            help="The score that an object has at least, which a detector finds; from 0 to 1.",
        )
    ]


@hookimpl
def wf_rules() -> list[Rule]:
    """Which models are for detection."""
    return [
        Rule(
            name="finds-boxes",
            kind="model",
            against=("dataset", "task"),
            target="wf_example_detection.rules:finds_boxes",
            needs="targets",
            suggested=("model",),
            summary="shape detection needs a model that finds boxes",
        )
    ]


@hookimpl
def wf_conditions() -> list[Condition]:
    """How drawings are made, which their number does not say."""
    return [
        Condition(
            name="drawings",
            summary="the edition of the drawings: a number stands for another drawing in another one",
            means="other samples give other gradients",
            level="error",
            fix="install the wf-example-detection that the run was made with",
            target="wf_example_detection.dataset:edition",
        )
    ]


@hookimpl
def wf_readers() -> list[FileReader]:
    """Image files of more endings than the dataset reads."""
    return [
        FileReader(
            name="bitmaps",
            endings=(".bmp", ".gif", ".ppm", ".webp"),
            target="wf_example_detection.dataset:read_image",
            summary="images that Pillow reads, as uint8 [1, 3, height, width]",
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
            summary="discs and squares, 0 to 20 in an image, and their boxes",
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
            summary="mirrors half of the images, and their boxes with them",
            traits=TransformTraits(
                train_only=True, inputs="image", gives="same", moves=True, joint=True, targets=("shapes",)
            ),
        ),
        Component(
            "model",
            "grid-detector",
            "wf_example_detection.model:GridDetector",
            summary="a small detector: scores and a box for each cell of a grid and each anchor",
            traits=ModelTraits(predictions="shapes", inputs="image"),
        ),
        Component(
            "metric",
            "shape-map",
            "wf_example_detection.metric:MeanAveragePrecision",
            summary="mean average precision, that at an IoU of 0.5, and the recall",
            traits=MetricTraits(targets=("shapes",), larger_is_better=True),
        ),
        Component(
            "anchor-generator",
            "squares",
            "wf_example_detection.anchors:Squares",
            summary="squares of some sides",
            default=True,
        ),
        Component(
            "anchor-generator",
            "rectangles",
            "wf_example_detection.anchors:Rectangles",
            summary="rectangles of one area and several shapes",
        ),
    ]
