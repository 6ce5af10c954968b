"""The members of the catalogue ``torchmetrics/<Name>``: the predictions that each one judges, and its options.

torchmetrics has one class per task (`BinaryAccuracy`), and one with the task as an argument (`Accuracy`). Both are
members, with their own defaults. Values determined by the data (`task`, `num_classes`, `num_labels`, `num_outputs`)
are not options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import torch

from wf.errors import UsageError, unknown
from wf_base.task import TaskRuntime
from wf_catalogues.members import descriptions, headline, option, parameters_of, stand_in, writable

HIDDEN = (
    *("task", "num_classes", "num_labels", "num_outputs", "input_format"),
    *("multidim_average", "aggregation_level", "keep_sequence_dim", "normalization"),
)
"""Parameters that are not options: the data determine them, or another value would give one figure per sample."""

HELP = {
    "device": "The device of the counts.",
    "outputs": "Determines the task: binary, multiclass or multilabel.",
    "num_classes": "The number of classes, or of labels.",
    "num_outputs": "The columns of the targets.",
    "ignore_index": "Targets of this value are ignored; by default -100, as in all of wf; the library ignores none.",
    "validate_args": "Check the targets' values in every batch; false avoids waiting for the device.",
    "task": "How class indices are judged; binary: the second of two classes is positive. By default from the dataset.",
    "zero_division": "The score where it would divide by 0.",
    "top_k": "The number of most probable classes among which the target counts as predicted.",
    "p": "The power of the distance.",
    "fpr_range": "The range of false positive rates over which the area is taken.",
}
"""Descriptions of options that replace or complete the library's."""

DEFAULTS: Mapping[str, Any] = {"ignore_index": -100}
"""Defaults that replace the library's."""

TYPES: Mapping[str, Any] = {
    "multioutput": Literal["raw_values", "uniform_average", "variance_weighted"],
    "thresholds": int | list[float] | None,
}
"""Annotations that replace the library's."""


@dataclass(frozen=True)
class Member:
    """One metric of the library.

    Args:
        name: Its class.
        module: The subpackage of the library that has it.
        group: Its group in the index: the predictions that it judges, and its direction.
        summary: One line for lists.
        figures: The names of its figures, if it can give several.
        columns: The names along the last axis of its result, if they are separate figures.
        task: ``binary``, ``multiclass`` or ``multilabel``; ``any`` if the task is an argument; empty without classes.
        types: Annotations that replace the library's, by option.
    """

    name: str
    module: str
    group: str
    summary: str
    figures: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    task: str = ""
    types: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def kind(self) -> Any:
        """The library's class."""
        return getattr(import_module(f"torchmetrics.{self.module}"), self.name)

    @cached_property
    def theirs(self) -> dict[str, inspect.Parameter]:
        """All parameters that the library's class has."""
        return parameters_of(self.kind)

    @property
    def judges(self) -> str:
        """Its group, without the direction."""
        return self.group.rpartition("-")[0]

    @property
    def filled(self) -> list[inspect.Parameter]:
        """Its run values."""
        rows = [option("device", torch.device)]
        if self.task:
            rows.append(option("outputs", TaskRuntime))
        if self.task or "num_classes" in self.theirs:
            rows.append(option("num_classes", int))
        return rows if self.judges != "numbers" else [*rows, option("num_outputs", int)]

    @property
    def leaves_out(self) -> bool:
        """Whether `ignore_index` is added by wf, because the library has none."""
        return self.judges != "numbers" and "ignore_index" not in self.theirs

    @property
    def options(self) -> list[inspect.Parameter]:
        """Its options."""
        hidden = set(HIDDEN) - ({"normalization"} if self.judges == "numbers" else set())
        rows = [*filter(None, (self._option(row) for name, row in self.theirs.items() if name not in hidden))]
        if self.task == "any" and self.judges != "rows":
            rows.insert(0, option("task", Literal["binary", "multiclass"] | None, None))
        if self.leaves_out:
            rows.append(option("ignore_index", int, DEFAULTS["ignore_index"]))
        return rows

    def _option(self, row: inspect.Parameter) -> inspect.Parameter | None:
        annotation = self.types.get(row.name, TYPES.get(row.name, writable(row.annotation)))
        return None if annotation is None else option(row.name, annotation, DEFAULTS.get(row.name, row.default))

    def described(self) -> Callable[..., None]:
        """A stand-in with its options, for `Catalogue.like`."""
        text = headline(self.summary, f"torchmetrics.{self.module}.{self.name}")
        return stand_in(self.kind, [*self.filled, *self.options], text, self._said())

    def _said(self) -> dict[str, str]:
        """The description of each parameter; a class with an argument `task` has them in the classes of the tasks."""
        prefixes = ("", "Multiclass", "Multilabel", "Binary") if self.task == "any" else ("",)
        module = import_module(f"torchmetrics.{self.module}")
        kinds = [getattr(module, f"{prefix}{self.name}", None) for prefix in prefixes]
        return {**descriptions(*filter(None, kinds)), **HELP}


def described(name: str) -> Callable[..., None]:
    """A function with the signature and docstring that `wf_torchmetrics.metric.build` has for one name."""
    return member(name).described()


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("metric of torchmetrics", name, MEMBERS))
    return MEMBERS[name]


_COUNTED = {
    "Accuracy": ("up", "share of targets that are predicted correctly"),
    "ConfusionMatrix": ("open", "counts of predicted classes for each true class (rows)"),
    "F1Score": ("up", "harmonic mean of precision and recall"),
    "FBetaScore": ("up", "harmonic mean of precision and recall, recall weighing beta times as much"),
    "HammingDistance": ("down", "share of targets that are predicted incorrectly"),
    "JaccardIndex": ("up", "intersection over union of predicted and true classes"),
    "MatthewsCorrCoef": ("up", "Matthews correlation coefficient of predictions and targets"),
    "NegativePredictiveValue": ("up", "fraction of negative predictions that are correct"),
    "Precision": ("up", "fraction of correct predictions of a class"),
    "Recall": ("up", "share of a class that is predicted correctly"),
    "Specificity": ("up", "fraction of negatives that are predicted as negative"),
    "StatScores": ("open", "true and false positives, true and false negatives, and the support"),
}
"""Counts of predicted classes: of samples, of pixels and of labels."""

_RANKED = {
    "AUROC": ("up", "area under the ROC curve"),
    "AveragePrecision": ("up", "area under the curve of precision over recall, as a sum of steps"),
    "EER": ("down", "the error rate at which false positives and false negatives are equally frequent"),
    "LogAUC": ("up", "area under the ROC curve over the logarithm of the false positive rate"),
    "PrecisionAtFixedRecall": ("open", "highest precision at a recall of at least min_recall, with its threshold"),
    "RecallAtFixedPrecision": ("open", "highest recall at a precision of at least min_precision, with its threshold"),
    "SensitivityAtSpecificity": (
        "open",
        "highest sensitivity at a specificity of at least min_specificity, with its threshold",
    ),
    "SpecificityAtSensitivity": (
        "open",
        "highest specificity at a sensitivity of at least min_sensitivity, with its threshold",
    ),
}
"""Metrics of ranked scores, all of which are kept."""

_COLUMNS = {"StatScores": ("tp", "fp", "tn", "fn", "support")}

_FIGURES = {
    "PrecisionAtFixedRecall": ("precision", "threshold"),
    "RecallAtFixedPrecision": ("recall", "threshold"),
    "SensitivityAtSpecificity": ("sensitivity", "threshold"),
    "SpecificityAtSensitivity": ("specificity", "threshold"),
}

_CHANCES = {
    "CalibrationError": ("down", "difference between predicted probability and share of correct predictions"),
    "HingeLoss": ("down", "mean hinge loss of probabilities"),
}

_REAL = {
    "ConcordanceCorrCoef": ("up", "Lin's concordance correlation coefficient"),
    "CosineSimilarity": ("up", "cosine of the angle between predicted and true rows, summed or averaged"),
    "CriticalSuccessIndex": ("up", "hits over hits, misses and false alarms, of values above a threshold"),
    "ExplainedVariance": ("up", "share of variance explained, ignoring a constant offset"),
    "KendallRankCorrCoef": ("up", "Kendall's rank correlation coefficient tau"),
    "LogCoshError": ("down", "mean logarithm of the hyperbolic cosine of the error"),
    "MeanAbsoluteError": ("down", "mean absolute error"),
    "MeanAbsolutePercentageError": ("down", "mean absolute error relative to the target"),
    "MeanSquaredError": ("down", "mean squared error, or its root"),
    "MeanSquaredLogError": ("down", "mean squared error of logarithms, of values above -1"),
    "MinkowskiDistance": ("down", "Minkowski distance of all predictions from all targets"),
    "NormalizedRootMeanSquaredError": ("down", "root of the mean squared error, relative to the targets' size"),
    "PearsonCorrCoef": ("up", "Pearson's correlation coefficient"),
    "R2Score": ("up", "share of variance explained"),
    "RelativeSquaredError": ("down", "squared error relative to that of predicting the mean"),
    "SpearmanCorrCoef": ("up", "Spearman's rank correlation coefficient"),
    "SymmetricMeanAbsolutePercentageError": ("down", "mean absolute error relative to target and prediction"),
    "TweedieDevianceScore": ("down", "deviance of a Tweedie distribution"),
    "WeightedMeanAbsolutePercentageError": ("down", "sum of absolute errors relative to the sum of targets"),
}

_MASKS = {
    "DiceScore": ("up", "twice the intersection over the sum of predicted and true pixels, a mean over images"),
    "GeneralizedDiceScore": ("up", "Dice score with classes weighted by the inverse of their size"),
    "MeanIoU": ("up", "intersection over union, a mean over images and classes"),
}

_PARTITIONS = {
    "clustering": {
        "AdjustedMutualInfoScore": "mutual information of predicted and true classes, adjusted for chance",
        "AdjustedRandScore": "agreement of pairs, adjusted for chance",
        "CompletenessScore": "completeness: how far each true class falls into one predicted class",
        "FowlkesMallowsIndex": "geometric mean of precision and recall of pairs",
        "HomogeneityScore": "homogeneity: how far each predicted class contains one true class",
        "MutualInfoScore": "mutual information of predicted and true classes, in nats",
        "NormalizedMutualInfoScore": "mutual information of predicted and true classes, from 0 to 1",
        "RandScore": "share of pairs of samples on which predicted and true classes agree",
        "VMeasureScore": "weighted harmonic mean of homogeneity and completeness",
    },
    "nominal": {
        "CramersV": "Cramer's V, an association of predicted and true classes",
        "PearsonsContingencyCoefficient": "Pearson's contingency coefficient of predicted and true classes",
        "TheilsU": "Theil's U, the share of the uncertainty of the predictions that the targets explain",
        "TschuprowsT": "Tschuprow's T, an association of predicted and true classes",
    },
}
"""Metrics of predicted classes as a clustering, compared with the true classes."""

_CLOUDS = {
    "CalinskiHarabaszScore": ("up", "spread of the classes in the model outputs, over the spread within them"),
    "DaviesBouldinScore": ("down", "spread within the classes in the model outputs, over their distances"),
    "DunnIndex": ("up", "smallest distance of classes in the model outputs, over the largest spread"),
}


def _members() -> Iterator[Member]:
    yield from _family(_COUNTED, "tasks", "classes")
    yield from _family(_RANKED, "ranks", "class_ranks")
    yield from _family(_CHANCES, "chances", "class_ranks", labels=False)
    yield from _family({"CohenKappa": ("up", "agreement beyond chance")}, "single", "classes", labels=False)
    exact = "fraction of samples with every label or pixel correct"
    yield Member("ExactMatch", "classification", "rows-up", exact, task="any")
    yield Member("MulticlassExactMatch", "classification", "pixels-up", exact, task="multiclass")
    yield Member("MultilabelExactMatch", "classification", "labels-up", exact, task="multilabel")
    for name, direction, summary in (
        ("CoverageError", "down", "how far down the ranking all labels that apply are found"),
        ("RankingAveragePrecision", "up", "share of labels that apply among those ranked above each one that does"),
        ("RankingLoss", "down", "share of pairs of labels that are ranked the wrong way round"),
    ):
        yield Member(f"Multilabel{name}", "classification", f"labels-{direction}", summary, task="multilabel")
    for name, (direction, summary) in _REAL.items():
        yield Member(name, "regression", f"numbers-{direction}", summary, _kendall(name), types=_real_types(name))
    for name, (direction, summary) in _MASKS.items():
        yield Member(name, "segmentation", f"masks-{direction}", summary)
    for module, rows in _PARTITIONS.items():
        for name, summary in rows.items():
            yield Member(name, module, "partitions-up", summary)
    for name, (direction, summary) in _CLOUDS.items():
        yield Member(name, "clustering", f"clouds-{direction}", summary)


def _family(rows: Mapping[str, tuple[str, str]], told: str, classes: str, *, labels: bool = True) -> Iterator[Member]:
    """The class with the task as an argument, and the class of each task."""
    tasks = {"": (told, "any"), "Binary": ("binary", "binary"), "Multiclass": (classes, "multiclass")}
    if labels:
        tasks["Multilabel"] = ("labels", "multilabel")
    for name, (direction, summary) in rows.items():
        for prefix, (judges, task) in tasks.items():
            group = f"{judges}-{direction}"
            figures, columns = _FIGURES.get(name, ()), _COLUMNS.get(name, ())
            yield Member(f"{prefix}{name}", "classification", group, summary, figures, columns, task)


def _kendall(name: str) -> tuple[str, ...]:
    return ("tau", "p-value") if name == "KendallRankCorrCoef" else ()


def _real_types(name: str) -> Mapping[str, Any]:
    return {"reduction": Literal["mean", "sum"]} if name == "CosineSimilarity" else {}


MEMBERS: dict[str, Member] = {member.name: member for member in _members()}
"""The members that can be used, by name."""
