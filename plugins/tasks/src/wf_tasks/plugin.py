"""Declares the tasks, links and rules of this package; imports neither torch nor the tasks."""

from __future__ import annotations

from wf import Link, Rule, Task, hookimpl

SCORES = ("raw", "logits")
OF_CLASSES = ("raw", "labels", "probs")
"""What metrics can be given where there are classes."""
EXCLUSIVE = ("class_index", "mask")
"""The targets of which each one is one of several classes."""


@hookimpl
def wf_tasks() -> list[Task]:
    """The tasks of this package."""
    return [
        Task(
            name="classification",
            summary="one of several classes a sample",
            target="wf_tasks.classification:Classification",
            targets=("class_index", "one_hot"),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "ce", "metric": ("accuracy",)},
        ),
        Task(
            name="binary",
            summary="yes or no a sample, told by one number",
            target="wf_tasks.classification:Binary",
            targets=("binary",),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "bce-logits", "metric": ("accuracy",)},
        ),
        Task(
            name="multilabel",
            summary="any number of labels a sample",
            target="wf_tasks.classification:Multilabel",
            targets=("multilabel",),
            reads=OF_CLASSES,
            per="sample",
            defaults={"loss": "bce-logits", "metric": ("accuracy", "f1")},
        ),
        Task(
            name="regression",
            summary="numbers a sample",
            target="wf_tasks.regression:Regression",
            targets=("real",),
            per="sample",
            defaults={"loss": "mse", "metric": ("mae", "r2")},
        ),
        Task(
            name="segmentation",
            summary="one of several classes a pixel",
            target="wf_tasks.segmentation:Segmentation",
            targets=("mask",),
            reads=OF_CLASSES,
            per="pixel",
            spatial=True,
            defaults={"loss": "ce", "metric": ("accuracy", "mean-iou"), "model": "unet"},
        ),
        Task(
            name="embedding",
            summary="a vector a sample, near to those of its class",
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
            summary="a class index becomes a row of zeros with a single one",
        ),
        Link(
            name="binary",
            of="targets",
            takes=("class_index",),
            gives="binary",
            num_classes=2,
            target="wf_tasks.links:zero_or_one",
            summary="a class index of two classes becomes 0 or 1, for a single logit",
        ),
        Link(
            name="mean",
            of="loss",
            takes=("none",),
            gives="mean",
            target="wf_tasks.links:mean",
            summary="the loss of each sample becomes their mean",
        ),
        Link(name="scores-as-logits", takes=("raw",), gives="logits", summary="scores are logits"),
        Link(name="scores-as-embeddings", takes=("raw",), gives="embeddings", summary="scores are a vector"),
        Link(
            name="any-as-numbers",
            takes=(*SCORES, "log_probs", "probs"),
            gives="real",
            summary="whatever a model gives are numbers",
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
    """The rules of what fits what, by tasks and links."""
    return [
        Rule(
            name="dataset-targets",
            kind="dataset",
            against=("task",),
            target="wf_tasks.rules:dataset_has_targets",
            needs="targets",
            suggested=("dataset",),
            summary="a dataset has targets of a form that its task has",
        ),
        Rule(
            name="transform-samples",
            kind="transform",
            against=("dataset",),
            target="wf_tasks.rules:takes_samples",
            needs="samples",
            suggested=("transform",),
            summary="a transform takes the samples that there are",
        ),
        Rule(
            name="transform-moves",
            kind="transform",
            against=("dataset", "task"),
            target="wf_tasks.rules:keeps_targets_in_place",
            needs="targets",
            suggested=("transform",),
            summary="a transform leaves pixels in place where targets lie in the images",
        ),
        Rule(
            name="transform-targets",
            kind="transform",
            against=("dataset", "task"),
            target="wf_tasks.rules:takes_targets",
            needs="targets",
            suggested=("transform",),
            summary="a transform that gets targets takes those of the dataset",
        ),
        Rule(
            name="model-samples",
            kind="model",
            against=("dataset",),
            target="wf_tasks.rules:takes_samples",
            needs="samples",
            suggested=("model",),
            summary="a model takes the samples that there are",
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
            name="loss-predictions",
            kind="loss",
            against=("dataset", "model", "task"),
            target="wf_tasks.rules:loss_takes_predictions",
            needs="targets",
            suggested=("loss",),
            summary="a loss takes the targets of the dataset and what the model gives, by links where needed",
        ),
        Rule(
            name="loss-model",
            kind="loss",
            against=("dataset", "model", "task"),
            target="wf_tasks.rules:loss_takes_what_model_gives",
            needs="model",
            suggested=("loss",),
            summary="a loss takes what the model gives for some targets, where those of the dataset are not known",
        ),
        Rule(
            name="loss-trained",
            kind="loss",
            against=("transform",),
            target="wf_tasks.rules:loss_takes_given_targets",
            needs="trained",
            suggested=("loss",),
            summary="a loss takes the targets that a transform gives in training",
        ),
        Rule(
            name="metric-targets",
            kind="metric",
            against=("dataset", "task"),
            target="wf_tasks.rules:metric_judges_targets",
            needs="targets",
            suggested=("metric",),
            summary="a metric judges the targets of the dataset",
        ),
        Rule(
            name="metric-predictions",
            kind="metric",
            target="wf_tasks.rules:metric_reads_predictions",
            needs="targets",
            suggested=("metric",),
            summary="the task tells the predictions that a metric reads",
        ),
    ]
