"""F1, precision, recall and IoU, from counts per class."""

from __future__ import annotations

import abc
from typing import Literal, get_args

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import Metric
from wf_base.tensors import check_shapes
from wf_metrics.common import histogram, wide

Average = Literal["macro", "micro", "weighted", "none"]


class ClassScore(Metric):
    """Base of scores computed from true positives, predictions and targets per class.

    Args:
        num_classes: C, the number of classes, or of labels for multilabel.
        average: ``macro``, ``micro``, ``weighted`` or ``none``.
        ignore_index: Targets with this value are ignored, with their predictions.

    Raises:
        UsageError: For another average.
    """

    def __init__(self, num_classes: int, average: Average = "macro", ignore_index: int = -100) -> None:
        super().__init__()
        if average not in get_args(Average):
            raise UsageError(f"metric option 'average' is '{average}'; choose from {', '.join(get_args(Average))}")
        self.num_classes, self.average, self.ignore_index = num_classes, average, ignore_index
        self._multilabel = False

    @abc.abstractmethod
    def score(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """The score from counts, 0 for a division by zero.

        Args:
            hits: True positives, float, ``[C]`` or 0-d.
            predicted: Predicted positives: true and false positives.
            actual: Actual positives: true positives and false negatives.
        """

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with int64 labels and targets ``[N]`` or ``[N, H, W]``, or 0/1 labels and float targets ``[N, C]``."""
        check_shapes(predictions, targets, "metric")
        counted = targets != self.ignore_index
        self._multilabel = targets.is_floating_point()
        if self._multilabel:
            yes, is_so = (predictions == 1) & counted, targets == 1
            self._add(hits=(yes & is_so).sum(0), predicted=yes.sum(0), actual=is_so.sum(0))
            return
        self._add(
            hits=histogram(targets, counted & (predictions == targets), self.num_classes),
            predicted=histogram(predictions, counted, self.num_classes),
            actual=histogram(targets, counted, self.num_classes),
        )

    def compute(self) -> Tensor:
        """The averaged score, 0-d, or ``[C]`` with average ``none``."""
        hits, predicted, actual = (wide(self.total(name)) for name in ("hits", "predicted", "actual"))
        if self.average == "micro":
            return self.score(hits.sum(), predicted.sum(), actual.sum())
        scores = self.score(hits, predicted, actual)
        if self.average == "none":
            return scores
        weights = actual if self.average == "weighted" else self._present(predicted + actual)
        return ratio((scores * weights).sum(), weights.sum())

    def _present(self, occurrences: Tensor) -> Tensor:
        return torch.ones_like(occurrences) if self._multilabel else (occurrences > 0).to(occurrences.dtype)

    def _add(self, **counts: Tensor) -> None:
        for name, count in counts.items():
            self.add(name, count)


class F1(ClassScore):
    """Harmonic mean of precision and recall, ``2 tp / (2 tp + fp + fn)``; 0 for a division by zero.

    Args:
        num_classes: C, the number of classes, or of labels for multilabel.
        average: ``macro`` is the mean over the classes that occur in targets or predictions (all labels for
            multilabel); ``micro`` counts all classes together; ``weighted`` weights each class by its number of
            targets; ``none`` gives one value per class (in a binary task the second is the positive class).
        ignore_index: Targets with this value are ignored, with their predictions.
    """

    def score(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """Twice the hits over predictions and targets together."""
        return ratio(2 * hits, predicted + actual)


class Precision(ClassScore):
    """The fraction of correct predictions of a class, ``tp / (tp + fp)``; 0 for a division by zero.

    Args:
        num_classes: C, the number of classes, or of labels for multilabel.
        average: ``macro`` is the mean over the classes that occur in targets or predictions (all labels for
            multilabel); ``micro`` counts all classes together; ``weighted`` weights each class by its number of
            targets; ``none`` gives one value per class (in a binary task the second is the positive class).
        ignore_index: Targets with this value are ignored, with their predictions.
    """

    def score(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """The hits over the predictions."""
        return ratio(hits, predicted)


class Recall(ClassScore):
    """The fraction of a class that is predicted, ``tp / (tp + fn)``; 0 for a division by zero.

    With average ``none`` this is accuracy per class; ``macro`` is also known as balanced accuracy.

    Args:
        num_classes: C, the number of classes, or of labels for multilabel.
        average: ``macro`` is the mean over the classes that occur in targets or predictions (all labels for
            multilabel); ``micro`` counts all classes together; ``weighted`` weights each class by its number of
            targets; ``none`` gives one value per class (in a binary task the second is the positive class).
        ignore_index: Targets with this value are ignored, with their predictions.
    """

    def score(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """The hits over the targets."""
        return ratio(hits, actual)


class IoU(ClassScore):
    """Intersection over union, the Jaccard index, ``tp / (tp + fp + fn)``; 0 for a division by zero.

    Counts are over all pixels of the split, not per image.

    Args:
        num_classes: C, the number of classes, or of labels for multilabel.
        average: ``macro`` is the mean over the classes that occur in targets or predictions (all labels for
            multilabel); ``micro`` counts all classes together; ``weighted`` weights each class by its number of
            targets; ``none`` gives one value per class (in a binary task the second is the positive class).
        ignore_index: Targets with this value are ignored, with their predictions.
    """

    def score(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """The hits over the union of predictions and targets."""
        return ratio(hits, predicted + actual - hits)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, 0 where `whole` is 0 (and with it `part`)."""
    return part / torch.where(whole == 0, 1, whole)
