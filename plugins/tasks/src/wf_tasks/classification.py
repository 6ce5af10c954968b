"""Classification, binary classification and multilabel tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import DataError
from wf_base.task import Numbers, at, within
from wf_tasks.cells import class_indices, only, zero_one
from wf_tasks.common import TensorTask


class Classified(TensorTask):
    """Base of tasks whose predictions are classes."""

    def read(self, predictions: Tensor, form: str) -> Tensor:
        """Predictions in the form ``raw``, ``labels`` or ``probs``."""
        if form == "raw":
            return predictions
        return self.labels(predictions) if form == "labels" else self.probs(predictions)

    def labels(self, predictions: Tensor) -> Tensor:
        """int64 ``[N]`` predicted classes, or ``[N, H, W]`` for masks."""
        if self.single_logit:
            return (predictions.flatten() > self._threshold()).to(torch.int64)
        return predictions.argmax(1)

    def probs(self, predictions: Tensor) -> Tensor:
        """float ``[N, C]``; a single logit p becomes the columns 1-p and p."""
        if self.single_logit:
            chances = self._chances(predictions)
            return torch.stack([1 - chances.flatten(), chances.flatten()], dim=1)
        if self.predictions == "probs":
            return predictions
        return predictions.exp() if self.predictions == "log_probs" else predictions.softmax(1)

    def names(self, predictions: Tensor, class_names: Sequence[str]) -> list[Any] | None:
        """One class name per sample; for masks rows of names, one per pixel."""
        return _named(self.labels(predictions).tolist(), class_names or ("0", "1"))

    def probabilities(self, predictions: Tensor, class_names: Sequence[str]) -> list[dict[str, float]] | None:
        """Probabilities by class, for one class or several labels per sample; None for masks and for invalid scores."""
        if self.predictions not in ("raw", "log_probs", "probs") or (predictions.ndim > 2 and not self.single_logit):
            return None
        names = class_names or ("0", "1")
        return [dict(zip(names, row, strict=True)) for row in self.probs(predictions).tolist()]

    def class_counts(self, targets: Tensor) -> tuple[int, ...] | None:
        """The number of targets per class, without ignored ones."""
        num_classes = max(len(self.class_names), 2)
        counted = targets[(targets >= 0) & (targets < num_classes)].to(torch.int64)
        return tuple(torch.bincount(counted, minlength=num_classes).tolist())

    def check_ones(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse values other than 0 and 1."""
        wrong = (targets != 0) & (targets != 1)
        if bool(wrong.any()):
            raise DataError(f"{where}: {self.targets} targets must be 0 or 1{at(wrong, targets, ids)}")

    def check_columns(self, targets: Tensor, where: str) -> None:
        """Refuse a number of columns that differs from the number of classes."""
        if self.class_names and targets.shape[1] != len(self.class_names):
            raise DataError(
                f"{where}: {self.targets} targets have {targets.shape[1]} columns, but there are "
                f"{len(self.class_names)} class_names"
            )

    @property
    def judged_by(self) -> tuple[str, ...]:
        """Accuracy."""
        return ("accuracy", "loss")

    def counts(self, figure: str) -> bool:
        """Whether the figure is accuracy."""
        return figure == "accuracy"

    def counted(self, targets: Tensor) -> Tensor:
        """The targets that accuracy counts: int64 ``[M, 1]``, without ignored (negative) ones."""
        return targets[targets >= 0].to(torch.int64).reshape(-1, 1)

    def baseline(self, figure: str, train: Tensor | None, targets: Tensor | None, spec: Any) -> float | None:
        """The error of always predicting the most frequent class."""
        if figure != "accuracy":
            return None
        if train is None or targets is None:
            counts = self.shares_known(spec)
            return 1 - max(counts) / sum(counts) if counts else None
        usual = torch.stack([column.bincount().argmax() for column in self.counted(train).T])
        return float((self.counted(targets) != usual).double().mean())

    def shares_known(self, spec: Any) -> Sequence[int]:
        """The class counts, or equal counts if unknown; empty if they do not apply."""
        counts: Sequence[int] = spec.class_counts or (1,) * len(spec.class_names)
        return counts

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """The class frequencies, as model outputs."""
        counted = self.counted(train)
        if self.yes_no:
            shares = counted.double().mean(0)
        else:
            shares = counted.flatten().bincount(minlength=len(spec.class_names)) / len(counted)
        if self.predictions not in ("probs", "real"):
            shares = shares.clamp(1e-6, 1 - 1e-6)
            shares = shares.logit() if self.yes_no else shares.log()
        return [shares]

    @property
    def yes_no(self) -> bool:
        """Whether each output is an independent class."""
        return self.single_logit

    def right(self, targets: Tensor) -> Tensor:
        """Logits far from zero."""
        return 20.0 * targets - 10.0

    def as_form(self, scores: Tensor, form: str) -> Tensor:
        """Logits as log-probabilities or probabilities of independent outputs."""
        forms = {"log_probs": functional.logsigmoid, "probs": torch.sigmoid}
        return forms[form](scores) if form in forms else scores

    def _chances(self, predictions: Tensor) -> Tensor:
        if self.predictions == "probs":
            return predictions
        return predictions.clamp(0, 1) if self.predictions == "real" else predictions.sigmoid()

    def _threshold(self) -> float:
        return 0.5 if self.predictions in ("probs", "real") else 0.0


class Indices(Classified):
    """Base of tasks whose targets are class indices, per sample or per pixel."""

    def check_dataset(self, name: str) -> None:
        """Require class names."""
        if not self.class_names:
            raise DataError(f"dataset '{name}' has {self.targets} targets but no class_names, one per class")

    def check_split(self, targets: Tensor, where: str) -> None:
        """Refuse targets that are all ignored."""
        if bool((targets == self.ignore_index).all()):
            raise DataError(f"{where}: every target is {self.ignore_index}, which is ignored")

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse indices that are not class indices."""
        num_classes = len(self.class_names)
        integral = targets.dtype == torch.int64
        if integral and within(targets, num_classes):  # one pass; ignored targets may have any value
            return
        wrong = (targets < 0) | (targets >= num_classes)
        wrong = (wrong & (targets != self.ignore_index)) if integral else torch.ones_like(targets, dtype=torch.bool)
        if not bool(wrong.any()):
            return
        counted = targets[targets != self.ignore_index]
        low, high = counted.min().item(), counted.max().item()
        raise DataError(
            f"{where}: class indices from {low:g} to {high:g} ({targets.dtype}) do not fit "
            f"{num_classes} classes; they must be int64 from 0 to {num_classes - 1}{at(wrong, targets, ids)}"
        )

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """The class of each sample."""
        return self.example_indices(num)

    def right(self, targets: Tensor) -> Tensor:
        """Logits far from zero."""
        return super().right(functional.one_hot(targets, self.example_classes).movedim(-1, 1))

    def as_form(self, scores: Tensor, form: str) -> Tensor:
        """Logits as log-probabilities or probabilities of mutually exclusive classes."""
        if form == "log_probs":
            return scores.log_softmax(1)
        return scores.softmax(1) if form == "probs" else scores

    def wrong_form(self, predictions: Tensor) -> str | None:
        """Why these are not probabilities of mutually exclusive classes."""
        if self.predictions not in ("log_probs", "probs"):
            raise NotImplementedError
        chances = predictions.exp() if self.predictions == "log_probs" else predictions
        sums = chances.sum(1)
        right = torch.allclose(sums, torch.ones_like(sums), atol=1e-4) and bool((chances >= 0).all())
        return None if right else f"the probabilities of a sample add up to {sums[0]:.4g}"

    def _words(self, num_outputs: int | None) -> str:
        return super()._words(num_outputs) if self.single_logit else f"{num_outputs} classes"


def numbered(targets: Tensor) -> list[str]:
    """Default class names: numbers from 0 to the largest index."""
    return [str(index) for index in range(int(targets.max()) + 1)] if len(targets) else []


class Classification(Indices):
    """One of several classes per sample: targets are class indices or one-hot rows."""

    @classmethod
    def recognizes(cls, targets: Tensor) -> dict[str, Any] | None:
        """One integer per sample."""
        whole = targets.ndim == 1 and not targets.is_floating_point()
        return {"targets": "class_index", "class_names": numbered(targets)} if whole else None

    @property
    def axes(self) -> tuple[str, ...]:  # type: ignore[override]  # depends on the form
        """The axes of rows or of indices."""
        return ("N", "C") if self.targets == "one_hot" else ("N",)

    def check_dataset(self, name: str) -> None:
        """Require names of at least two classes for class indices."""
        if self.targets == "one_hot":
            return
        if len(self.class_names) == 1:
            raise DataError(
                f"dataset '{name}': there is only one class ({', '.join(self.class_names)}): nothing to classify"
            )
        super().check_dataset(name)

    def check_split(self, targets: Tensor, where: str) -> None:
        """Refuse class indices that are all ignored."""
        if self.targets != "one_hot":
            super().check_split(targets, where)

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse invalid class indices, and rows that do not add up to 1."""
        if self.targets != "one_hot":
            super().check_values(targets, ids, where)
            return
        TensorTask.check_values(self, targets, ids, where)
        self.check_columns(targets, where)
        wrong = ((targets.sum(1) - 1).abs() > 1e-3) | (targets < 0).any(1)
        if bool(wrong.any()):
            raise DataError(f"{where}: one_hot targets must add up to 1, and none be negative{at(wrong, targets, ids)}")

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """Class indices, or one-hot rows."""
        indices = super().example_targets(num, generator)
        if self.targets != "one_hot":
            return indices
        return functional.one_hot(indices, self.example_classes).to(torch.get_default_dtype())

    def right(self, targets: Tensor) -> Tensor:
        """Logits far from zero."""
        return Classified.right(self, targets) if self.targets == "one_hot" else super().right(targets)

    def as_form(self, scores: Tensor, form: str) -> Tensor:
        """Logits as predictions in a form; for one-hot rows, links compute independent probabilities."""
        single = self.targets == "one_hot" and form == "probs"
        return Classified.as_form(self, scores, form) if single else super().as_form(scores, form)

    def targets_in(self, columns: Mapping[str, Sequence[Any]], where: str, first: int = 1) -> Tensor:
        """The class of each row, by name, as an index or as a row of zeros with a single one."""
        found = class_indices(columns, self.class_names, where, first)
        if self.targets != "one_hot":
            return found
        return functional.one_hot(found, len(self.class_names)).to(torch.get_default_dtype())

    def strata(self, targets: Any) -> Tensor | None:
        """The class of each sample."""
        if self.targets == "one_hot" or not isinstance(targets, Tensor):
            return None
        return targets.to(torch.int64).flatten()

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The columns of a row."""
        return {"num_targets": int(target.numel())} if self.targets == "one_hot" else {}

    def class_counts(self, targets: Tensor) -> tuple[int, ...] | None:
        """Class counts, for class indices."""
        return None if self.targets == "one_hot" else super().class_counts(targets)

    def counted(self, targets: Tensor) -> Tensor:
        """The class of each sample."""
        return super().counted(targets.argmax(1) if self.targets == "one_hot" else targets)

    def supposed(self, spec: Any) -> Tensor | None:
        """Class indices with their frequencies, or each once."""
        counts = self.shares_known(spec)
        if self.targets == "one_hot" or not spec.class_names:
            return None
        return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


class Binary(Classified):
    """Binary classification: targets are 0 or 1, and the model has one output."""

    axes = ("N",)

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """The model has a single output."""
        made = super().fitted(given, gives, wanted)
        made.single_logit = made.single_logit or given == self.targets
        return made

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse values other than 0 and 1."""
        super().check_values(targets, ids, where)
        self.check_ones(targets, ids, where)

    example_classes = 0

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """1 for every second sample."""
        return (self.example_indices(num) > 0).to(torch.get_default_dtype())

    def right(self, targets: Tensor) -> Tensor:
        """One logit per sample, far from zero."""
        return super().right(targets.unsqueeze(1))

    def targets_in(self, columns: Mapping[str, Sequence[Any]], where: str, first: int = 1) -> Tensor:
        """0 or 1, or one of the two class names."""
        _, cells = only(columns, where)
        if self.class_names and all(str(cell).strip() in self.class_names for cell in cells):
            return class_indices(columns, self.class_names, where, first).to(torch.get_default_dtype())
        return zero_one(columns, where, first).flatten()

    def strata(self, targets: Any) -> Tensor | None:
        """The class of each sample, 0 or 1."""
        return targets.to(torch.int64).flatten() if isinstance(targets, Tensor) else None

    @property
    def num_classes(self) -> int | None:
        """Two, with or without names."""
        return len(self.class_names) or 2

    def classes(self, targets: Tensor) -> Tensor:
        """int64 classes."""
        return targets.flatten().to(torch.int64)


class Multilabel(Classified):
    """Any number of labels per sample: one target of 0 or 1 per label."""

    axes = ("N", "C")

    @classmethod
    def recognizes(cls, targets: Tensor) -> dict[str, Any] | None:
        """None: several integers per sample are ambiguous."""
        if targets.ndim != len(cls.axes) or targets.is_floating_point():
            return None
        raise DataError(
            f"targets of shape {list(targets.shape)} are integers: one class per column?\n"
            "  give floats for a regression, or wf_base.Dataset(..., targets='multilabel') for labels of 0 and 1"
        )

    def check_values(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse values other than 0 and 1, and a wrong number of columns."""
        super().check_values(targets, ids, where)
        self.check_columns(targets, where)
        self.check_ones(targets, ids, where)

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        """Random labels."""
        indices, labels = self.example_indices(num), range(self.example_classes)
        return torch.stack([(indices + shift) % 2 for shift in labels], dim=1).to(torch.get_default_dtype())

    def targets_in(self, columns: Mapping[str, Sequence[Any]], where: str, first: int = 1) -> Tensor:
        """0 or 1 in a column for each label."""
        if self.class_names and len(columns) != len(self.class_names):
            raise DataError(f"{where}: the run has {len(self.class_names)} labels, not {len(columns)}")
        return zero_one(columns, where, first)

    def facts(self, target: Tensor) -> dict[str, Any]:
        """The labels."""
        return {"num_targets": int(target.numel())}

    def class_counts(self, targets: Tensor) -> tuple[int, ...] | None:
        """None: labels are not mutually exclusive classes."""
        return None

    def labels(self, predictions: Tensor) -> Tensor:
        """int64 ``[N, C]``, 1 for predicted labels."""
        return (predictions > self._threshold()).to(torch.int64)

    def probs(self, predictions: Tensor) -> Tensor:
        """float ``[N, C]``, the probability of each label."""
        return self._chances(predictions)

    def counted(self, targets: Tensor) -> Tensor:
        """Each label of each sample, int64 ``[N, C]``."""
        return targets.to(torch.int64)

    def shares_known(self, spec: Any) -> Sequence[int]:
        """Empty: label frequencies are not counted."""
        return ()

    @property
    def yes_no(self) -> bool:
        """True: each label is independent."""
        return True

    def names(self, predictions: Tensor, class_names: Sequence[str]) -> list[Any] | None:
        """The labels of a sample with a probability above 0.5."""
        names, rows = class_names or ("0", "1"), self.labels(predictions).tolist()
        return [[name for name, holds in zip(names, row, strict=True) if holds] for row in rows]


def _named(indices: list[Any], names: Sequence[str]) -> list[Any]:
    """Replace indices by names, at any nesting depth."""
    return [_named(index, names) if isinstance(index, list) else names[index] for index in indices]
