"""Plots of classifiers: confusion matrix, ROC, precision and recall, calibration."""

from __future__ import annotations

import torch
from torch import Tensor

from wf_base.predicted import Predicted
from wf_base.task import TaskRuntime
from wf_charts import Chart, Lines, Matrix, Series

MAX_CURVES = 8
"""Maximum number of curves; with more classes, the most frequent ones are drawn."""
OTHER = "other"


def true_classes(task: TaskRuntime, targets: Tensor) -> Tensor:
    """int64 class indices of targets, one-hot rows included; ignored ones are negative or too large."""
    classes: Tensor = task.classes(targets)
    return classes.argmax(1) if classes.is_floating_point() and classes.ndim > 1 else classes.to(torch.int64)


def class_names(task: TaskRuntime) -> list[str]:
    """One name a class."""
    return [str(name) for name in task.class_names] or [str(number) for number in range(task.num_classes or 2)]


class Confusion:
    """Confusion matrix: the number of samples of the test split by true and predicted class.

    Args:
        outputs: The task.
        max_classes: With more classes, the rows and columns are the classes with the most mistakes, and one for all
            others.
    """

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime, max_classes: int = 30) -> None:
        self._task, self._names, self._max = outputs, class_names(outputs), max_classes
        self._counts = torch.zeros(len(self._names), len(self._names), dtype=torch.int64)

    def update(self, seen: Predicted) -> None:
        """Count a batch."""
        num = len(self._names)
        truth = true_classes(self._task, seen.targets).flatten()
        labels = self._task.read(seen.outputs, "labels").flatten()
        counted = (truth >= 0) & (truth < num) & (truth != self._task.ignore_index)
        pairs = truth[counted] * num + labels[counted]
        self._counts += torch.bincount(pairs, minlength=num * num).reshape(num, num)

    def charts(self) -> list[Chart]:
        """The matrix."""
        names, counts, about = self._names, self._counts, ""
        if len(names) > self._max:
            names, counts = self._folded()
            about = f"The {len(names) - 1} of {len(self._names)} classes with the most mistakes; all others are one."
        right, total = int(self._counts.diagonal().sum()), int(self._counts.sum())
        about = f"{right} of {total} are right. {about}".strip()
        return [
            Matrix(
                name="confusion",
                title="Confusion matrix of the test split",
                rows=names,
                columns=names,
                counts=counts.tolist(),
                about=f"{about} Rows are true classes, columns predicted ones; colours are shares of the true class.",
            )
        ]

    def _folded(self) -> tuple[list[str], Tensor]:
        """The matrix of the classes with the most mistakes, with all others as one class."""
        counts = self._counts
        wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        kept = wrong.argsort(descending=True, stable=True)[: self._max - 1].sort().values
        place = torch.full((len(counts),), len(kept))
        place[kept] = torch.arange(len(kept))
        rows = torch.zeros(len(kept) + 1, len(counts), dtype=torch.int64).index_add_(0, place, counts)
        folded = torch.zeros(len(kept) + 1, len(kept) + 1, dtype=torch.int64).index_add_(1, place, rows)
        return [*(self._names[index] for index in kept.tolist()), OTHER], folded


class _Scores:
    """Base of plots over the probabilities of the test split."""

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime) -> None:
        self._task, self._names = outputs, class_names(outputs)
        self._probs: list[Tensor] = []
        self._truth: list[Tensor] = []

    def update(self, seen: Predicted) -> None:
        """Keep the probabilities of a batch."""
        self._probs.append(self._task.read(seen.outputs, "probs").float())
        targets = self._task.classes(seen.targets)
        is_rows = targets.ndim > 1
        if not is_rows:
            names = len(self._names)
            valid = (targets >= 0) & (targets < names)
            self._probs[-1], targets = self._probs[-1][valid], targets[valid]
            targets = torch.nn.functional.one_hot(targets.to(torch.int64), names)
        self._truth.append(targets.to(torch.int64))

    def _all(self) -> tuple[Tensor, Tensor]:
        """Probabilities and truth, ``[N, C]``; NaN counts as 0."""
        return torch.cat(self._probs).nan_to_num(0.0), torch.cat(self._truth)

    def _curves(self) -> list[tuple[str, Tensor, Tensor]]:
        """Name, scores and truth of each class to draw; of two exclusive classes the second."""
        probs, truth = self._all()
        is_one = len(self._names) == 2 and bool((truth.sum(1) == 1).all())
        places = (
            [1] if is_one else truth.sum(0).argsort(descending=True, stable=True)[:MAX_CURVES].sort().values.tolist()
        )
        both = [(self._names[place], probs[:, place], truth[:, place]) for place in places]
        return [(name, scores, own) for name, scores, own in both if 0 < int(own.sum()) < len(own)]

    def _of_how_many(self, num: int) -> str:
        return f" The {num} most frequent of {len(self._names)} classes." if 1 < num < len(self._names) else ""


class Roc(_Scores):
    """The ROC curve of each class against all others, on the test split.

    Args:
        outputs: The task.
    """

    def charts(self) -> list[Chart]:
        """One curve per class, with the area under it."""
        series = []
        for name, scores, truth in self._curves():
            hits, false = _counts(scores, truth)
            x, y = _from_zero(false / false[-1]), _from_zero(hits / hits[-1])
            area = float(torch.trapezoid(y, x))
            series.append(Series(name=f"{name} (area {area:.3f})", x=x.tolist(), y=y.tolist()))
        if not series:
            return []
        about = "True positive rate over false positive rate, each class against all others."
        about += self._of_how_many(len(series))
        series.append(Series(name="chance", x=[0, 1], y=[0, 1], mark="reference"))
        labels = ("false positive rate", "true positive rate")
        return [_of_shares("roc", "ROC of the test split", series, labels, about)]


class PrecisionRecall(_Scores):
    """Precision over recall of each class, on the test split.

    Args:
        outputs: The task.
    """

    def charts(self) -> list[Chart]:
        """One curve per class, with its average precision."""
        series = []
        for name, scores, truth in self._curves():
            hits, false = _counts(scores, truth)
            precision, recall = hits / (hits + false), hits / hits[-1]
            steps = torch.diff(recall, prepend=recall.new_zeros(1))
            average = float((steps * precision).sum())
            x, y = torch.cat([recall.new_zeros(1), recall]), torch.cat([precision[:1], precision])
            series.append(Series(name=f"{name} (average {average:.3f})", x=x.tolist(), y=y.tolist()))
        if not series:
            return []
        about = "Precision over recall, each class against all others."
        about += self._of_how_many(len(series))
        title = "Precision and recall of the test split"
        return [_of_shares("precision-recall", title, series, ("recall", "precision"), about)]


class Calibration(_Scores):
    """Calibration: the share of correct predictions over the predicted probability.

    Args:
        outputs: The task.
        bins: Number of equal intervals of the probability.
    """

    def __init__(self, outputs: TaskRuntime, bins: int = 10) -> None:
        super().__init__(outputs)
        self._bins = bins

    def charts(self) -> list[Chart]:
        """One curve, with the expected calibration error."""
        probs, truth = self._all()
        sure, label = probs.max(1)
        right = truth.gather(1, label[:, None]).flatten().float()
        place = (sure * self._bins).long().clamp(0, self._bins - 1)
        points, error = [], 0.0
        for number in range(self._bins):
            own = place == number
            if bool(own.any()):
                mean, share = float(sure[own].mean()), float(right[own].mean())
                error += abs(mean - share) * float(own.float().mean())
                points.append((mean, share))
        x, y = [one for one, _ in points], [one for _, one in points]
        series = [
            Series(name="predicted class", x=x, y=y, role="test"),
            Series(name="as sure as right", x=[0, 1], y=[0, 1], mark="reference"),
        ]
        labels = ("probability of the predicted class", "share that is right")
        about = f"Below the dotted line the model is too sure. Expected calibration error {error:.3f}."
        return [_of_shares("calibration", "Calibration on the test split", series, labels, about)]


def _of_shares(name: str, title: str, series: list[Series], labels: tuple[str, str], about: str) -> Lines:
    """Curves of one share over another, from 0 to 1."""
    (x_label, y_label), whole = labels, (0.0, 1.0)
    return Lines(
        name=name,
        title=title,
        series=series,
        x_label=x_label,
        y_label=y_label,
        x_range=whole,
        y_range=whole,
        about=about,
    )


def _counts(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """True and false positives as the threshold falls, one entry for each different score."""
    scores, order = scores.sort(descending=True, stable=True)
    truth = truth[order].double()
    last = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)])
    return truth.cumsum(0)[last], (1 - truth).cumsum(0)[last]


def _from_zero(values: Tensor) -> Tensor:
    return torch.cat([values.new_zeros(1), values])
