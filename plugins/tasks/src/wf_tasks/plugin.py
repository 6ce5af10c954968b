"""Declares the tasks, links, rules and plots of this package; imports neither torch nor the tasks."""

from __future__ import annotations

from wf import Component, Link, Rule, Task, hookimpl
from wf_charts import PlotTraits

SCORES = ("raw", "logits")
OF_CLASSES = ("raw", "labels", "probs")
"""Forms of predictions that tasks with classes provide to metrics."""
EXCLUSIVE = ("class_index", "mask")
"""Target forms with mutually exclusive classes."""


@hookimpl
def wf_tasks() -> list[Task]:
    """The tasks of this package."""
    return [
        Task(
            name="classification",
            summary="one of several classes per sample",
            target="wf_tasks.classification:Classification",
            targets=("class_index", "one_hot"),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "ce", "metric": ("accuracy",)},
        ),
        Task(
            name="binary",
            summary="one of two classes per sample, from a single output",
            target="wf_tasks.classification:Binary",
            targets=("binary",),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "bce-logits", "metric": ("accuracy",)},
        ),
        Task(
            name="multilabel",
            summary="any number of labels per sample",
            target="wf_tasks.classification:Multilabel",
            targets=("multilabel",),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "bce-logits", "metric": ("accuracy", "f1")},
        ),
        Task(
            name="regression",
            summary="real numbers per sample",
            target="wf_tasks.regression:Regression",
            targets=("real",),
            per="sample",
            defaults={"loss": "mse", "metric": ("mae", "r2")},
        ),
        Task(
            name="segmentation",
            summary="one of several classes per pixel",
            target="wf_tasks.segmentation:Segmentation",
            targets=("mask",),
            reads=OF_CLASSES,
            per="pixel",
            spatial=True,
            defaults={"loss": "ce", "metric": ("accuracy", "mean-iou"), "model": "unet"},
        ),
        Task(
            name="detection",
            summary="boxes around objects, each with a class, and maybe a mask",
            target="wf_tasks.detection:Detection",
            targets=("boxes",),
            gives="boxes",
            reads=("raw",),
            spatial=True,
            defaults={
                "metric": ("map",),
                "model": "torchvision/ssdlite320_mobilenet_v3_large",
                "monitor": "validation/map",
            },
        ),
        Task(
            name="embedding",
            summary="one vector per sample, close to others of its class",
            target="wf_tasks.embedding:Embedding",
            targets=("class_index",),
            predictions=("embeddings",),
            reads=("raw",),
            per="sample",
        ),
    ]


@hookimpl
def wf_links() -> list[Link]:
    """The links of this package."""
    return [
        Link(
            name="log-softmax",
            takes=SCORES,
            gives="log_probs",
            target="wf_tasks.links:log_softmax",
            summary="logits become log-probabilities",
        ),
        Link(
            name="softmax",
            takes=SCORES,
            gives="probs",
            targets=EXCLUSIVE,
            target="wf_tasks.links:softmax",
            summary="logits become probabilities that add up to 1",
        ),
        Link(
            name="sigmoid",
            takes=SCORES,
            gives="probs",
            target="wf_tasks.links:sigmoid",
            summary="each logit becomes a probability",
        ),
        Link(
            name="log",
            takes=("probs",),
            gives="log_probs",
            target="wf_tasks.links:log",
            summary="probabilities become log-probabilities",
        ),
        Link(
            name="one-hot",
            of="targets",
            takes=("class_index",),
            gives="one_hot",
            target="wf_tasks.links:one_hot",
            summary="class indices become one-hot rows",
        ),
        Link(
            name="binary",
            of="targets",
            takes=("class_index",),
            gives="binary",
            num_classes=2,
            target="wf_tasks.links:zero_or_one",
            summary="class indices of two classes become 0 or 1, for a single logit",
        ),
        Link(
            name="mean",
            of="loss",
            takes=("none",),
            gives="mean",
            target="wf_tasks.links:mean",
            summary="losses per sample become their mean",
        ),
        Link(name="scores-as-logits", takes=("raw",), gives="logits", summary="scores are logits"),
        Link(name="scores-as-embeddings", takes=("raw",), gives="embeddings", summary="scores are embeddings"),
        Link(
            name="any-as-numbers",
            takes=(*SCORES, "log_probs", "probs"),
            gives="real",
            summary="any model outputs are numbers",
        ),
        Link(
            name="log-probs-as-logits",
            takes=("log_probs",),
            gives="logits",
            targets=EXCLUSIVE,
            summary="log-probabilities are logits: their log-softmax changes nothing",
        ),
    ]


@hookimpl
def wf_rules() -> list[Rule]:
    """The rules about what fits together, by tasks and links."""
    return [
        Rule(
            name="dataset-targets",
            kind="dataset",
            against=("task",),
            target="wf_tasks.rules:dataset_has_targets",
            needs="targets",
            suggested=("dataset",),
            summary="a dataset's targets have a form of its task",
        ),
        Rule(
            name="transform-samples",
            kind="transform",
            against=("dataset",),
            target="wf_tasks.rules:takes_samples",
            needs="samples",
            suggested=("transform",),
            summary="a transform takes the samples of the run",
        ),
        Rule(
            name="transform-moves",
            kind="transform",
            against=("dataset", "task"),
            target="wf_tasks.rules:keeps_targets_in_place",
            needs="targets",
            suggested=("transform",),
            summary="a transform does not move pixels if targets are positions in the image",
        ),
        Rule(
            name="transform-targets",
            kind="transform",
            against=("dataset", "task"),
            target="wf_tasks.rules:takes_targets",
            needs="targets",
            suggested=("transform",),
            summary="a joint transform takes the targets of the dataset",
        ),
        Rule(
            name="model-samples",
            kind="model",
            against=("dataset",),
            target="wf_tasks.rules:takes_samples",
            needs="samples",
            suggested=("model",),
            summary="a model takes the samples of the run",
        ),
        Rule(
            name="model-per",
            kind="model",
            against=("dataset", "task"),
            target="wf_tasks.rules:predicts_per",
            needs="targets",
            suggested=("model",),
            summary="a model predicts for samples or for pixels, as the task needs",
        ),
        Rule(
            name="model-gives",
            kind="model",
            against=("dataset", "task"),
            target="wf_tasks.rules:gives_what_the_task_needs",
            needs="targets",
            suggested=("model",),
            summary="a model returns the outputs that its task needs, if no loss decides",
        ),
        Rule(
            name="loss-predictions",
            kind="loss",
            against=("dataset", "model", "task"),
            target="wf_tasks.rules:loss_takes_predictions",
            needs="targets",
            suggested=("loss",),
            summary="a loss takes the dataset's targets and the model's outputs, through links if needed",
        ),
        Rule(
            name="loss-model",
            kind="loss",
            against=("dataset", "model", "task"),
            target="wf_tasks.rules:loss_takes_what_model_gives",
            needs="model",
            suggested=("loss",),
            summary="a loss takes the model's outputs for some form of targets, if the dataset's form is unknown",
        ),
        Rule(
            name="loss-trained",
            kind="loss",
            against=("transform",),
            target="wf_tasks.rules:loss_takes_given_targets",
            needs="trained",
            suggested=("loss",),
            summary="a loss takes the targets that a transform produces in training",
        ),
        Rule(
            name="metric-targets",
            kind="metric",
            against=("dataset", "task"),
            target="wf_tasks.rules:metric_judges_targets",
            needs="targets",
            suggested=("metric",),
            summary="a metric takes the targets of the dataset",
        ),
        Rule(
            name="metric-predictions",
            kind="metric",
            target="wf_tasks.rules:metric_reads_predictions",
            needs="targets",
            suggested=("metric",),
            summary="the task provides the form of predictions that a metric takes",
        ),
    ]


_CLASSES = ("classification", "binary")
"""Tasks with one class per sample."""


@hookimpl
def wf_components() -> list[Component]:
    """The plots of these tasks."""
    return [
        Component(
            "plot",
            "fitted-line",
            "wf_tasks.plots.numbers:Line",
            "data and predictions of one number over one number",
            traits=PlotTraits(tasks=("regression",), order=20),
        ),
        Component(
            "plot",
            "residuals",
            "wf_tasks.plots.numbers:Residuals",
            "target minus prediction over the prediction",
            traits=PlotTraits(tasks=("regression",), order=30),
        ),
        Component(
            "plot",
            "confusion",
            "wf_tasks.plots.classes:Confusion",
            "confusion matrix: the number of samples by true and predicted class",
            aliases=("confusion-matrix",),
            traits=PlotTraits(tasks=(*_CLASSES, "segmentation"), order=30),
        ),
        Component(
            "plot",
            "roc",
            "wf_tasks.plots.classes:Roc",
            "the ROC curve of each class",
            traits=PlotTraits(tasks=(*_CLASSES, "multilabel"), order=40),
        ),
        Component(
            "plot",
            "precision-recall",
            "wf_tasks.plots.classes:PrecisionRecall",
            "precision over recall of each class",
            traits=PlotTraits(tasks=(*_CLASSES, "multilabel"), order=50),
        ),
        Component(
            "plot",
            "calibration",
            "wf_tasks.plots.classes:Calibration",
            "calibration: the share of correct predictions over the predicted probability",
            traits=PlotTraits(tasks=_CLASSES, order=60),
        ),
        Component(
            "plot",
            "worst",
            "wf_tasks.plots.samples:Worst",
            "the samples that the model is most wrong about",
            aliases=("worst-samples",),
            traits=PlotTraits(tasks=(*_CLASSES, "multilabel", "regression"), order=70),
        ),
        Component(
            "plot",
            "masks",
            "wf_tasks.plots.samples:Masks",
            "true and predicted masks of the worst images",
            traits=PlotTraits(tasks=("segmentation",), order=70),
        ),
        Component(
            "plot",
            "boxes",
            "wf_tasks.plots.samples:Boxes",
            "true and found boxes in some images",
            traits=PlotTraits(tasks=("detection",), order=70),
        ),
    ]
