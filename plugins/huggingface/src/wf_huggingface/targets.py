"""From target columns to targets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base.figures import are_classes, regression_hint
from wf_huggingface.columns import Columns, describe, is_number, is_text, is_whole
from wf_huggingface.inputs import check_missing, numbers, plain

_log = logging.getLogger(__name__)

Task = Literal["auto", "classification", "regression", "binary", "multilabel"]


@dataclass(frozen=True)
class Labels:
    """The targets of each split."""

    kind: str
    tensors: Mapping[str, Tensor]
    class_names: Sequence[str] = ()


def read_targets(
    tables: Mapping[str, Any], columns: Columns, task: Task, classes: Sequence[Any] | None = None, start: int = 0
) -> Labels:
    """The targets of each split.

    Args:
        tables: The splits.
        columns: The chosen columns.
        task: The task.
        classes: The values of the classes, or their names; None to take them from the train split.
        start: The number of the first row, if the tables are a part of a stream.

    Raises:
        DataError: For missing values, or values that do not fit the task.
        UsageError: If the columns cannot be targets of the task.
    """
    for split, table in tables.items():
        for name in columns.targets:
            check_missing(table, name, split, start)
    features = [columns.features[name] for name in columns.targets]
    chosen = task_of(columns, task)
    if chosen == "regression" and all(is_number(feature) for feature in features):
        return Labels("real", {split: numbers(table, columns.targets, split, start) for split, table in tables.items()})
    if chosen == "binary" and len(features) == 1 and _is_yes_or_no(features[0]):
        return Labels("binary", {split: yes.flatten() for split, yes in _yes_or_no(tables, columns, start).items()})
    if chosen == "multilabel" and _is_list_of_labels(features[0]) and len(features) == 1:
        return _lists(tables, columns.targets[0], features[0].feature.names)
    if chosen == "multilabel" and all(map(_is_yes_or_no, features)):
        return Labels("multilabel", _yes_or_no(tables, columns, start), columns.targets)
    if chosen == "classification" and len(features) == 1:
        return _classes(tables, columns.targets[0], features[0], classes)
    held = ", ".join(f"'{name}' ({describe(columns.features[name])})" for name in columns.targets)
    raise UsageError(f"{held} cannot be the target of a {chosen}\n  choose another --dataset.target or --dataset.task")


def task_of(columns: Columns, task: Task) -> str:
    """The task, by default inferred from the target columns."""
    features = [columns.features[name] for name in columns.targets]
    if task != "auto":
        return task
    if len(features) > 1:
        return "multilabel" if all(is_whole(feature) for feature in features) else "regression"
    if isinstance(features[0], (datasets.List, datasets.LargeList)):
        return "multilabel"
    return "regression" if is_number(features[0]) and not is_whole(features[0]) else "classification"


def settled(columns: Columns, task: Task, values: Iterable[Any], path: Path) -> Task:
    """The task, if the values of a column of integers determine whether they are classes; an ambiguous case is
    reported.

    Args:
        columns: The chosen columns.
        task: The task option.
        values: The values of the train split, if `counts_decide`.
        path: Their origin, for messages.
    """
    if not counts_decide(columns, task):
        return task
    counts = values if isinstance(values, Counter) else Counter(values)
    if not counts or are_classes(counts):
        return "classification"
    if hint := regression_hint(list(counts.elements())):
        _log.warning("%s: the target '%s' %s", path, columns.targets[0], hint)
    return "regression"


def counts_decide(columns: Columns, task: Task) -> bool:
    """Whether the task depends on the values: one column of integers with task ``auto``."""
    feature = columns.features[columns.targets[0]]
    return task == "auto" and len(columns.targets) == 1 and is_whole(feature) and feature.dtype != "bool"


def _is_yes_or_no(feature: Any) -> bool:
    return is_number(feature) or (isinstance(feature, datasets.ClassLabel) and feature.num_classes == 2)


def _is_list_of_labels(feature: Any) -> bool:
    lists = (datasets.List, datasets.LargeList)
    return isinstance(feature, lists) and isinstance(feature.feature, datasets.ClassLabel)


def _yes_or_no(tables: Mapping[str, Any], columns: Columns, start: int) -> dict[str, Tensor]:
    tensors = {split: numbers(table, columns.targets, split, start) for split, table in tables.items()}
    for split, tensor in tensors.items():
        wrong = torch.nonzero((tensor != 0) & (tensor != 1))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"{split} split, column '{columns.targets[column]}', row {start + row} (from 0): "
                f"{tensor[row, column]:g} is neither 0 nor 1"
            )
    return tensors


def _lists(tables: Mapping[str, Any], name: str, names: Sequence[str]) -> Labels:
    tensors = {}
    for split, table in tables.items():
        tensors[split] = torch.zeros(len(table), len(names))
        for row, labels in zip(tensors[split], plain(table, name), strict=True):
            row[torch.tensor(labels, dtype=torch.int64)] = 1
    return Labels("multilabel", tensors, names)


def _classes(tables: Mapping[str, Any], name: str, feature: Any, classes: Sequence[Any] | None) -> Labels:
    values = {split: plain(table, name) for split, table in tables.items()}
    if isinstance(feature, datasets.ClassLabel):
        if classes is not None and list(classes) != feature.names:
            values = {split: [_name(feature, value) for value in found] for split, found in values.items()}
        else:
            labels = {split: torch.tensor(found) for split, found in values.items()}
            return Labels("class_index", labels, feature.names)
    elif not (is_text(feature) or is_number(feature)):
        raise UsageError(f"column '{name}' ({describe(feature)}) holds no classes\n  choose another --dataset.target")
    names = [str(value) for value in classes or sorted(set(values["train"]))]
    index = {value: number for number, value in enumerate(names)}
    tensors = {}
    for split, found in values.items():
        strange = [value for value in found if str(value) not in index]
        if strange:
            raise DataError(
                f"{split} split, column '{name}': class '{strange[0]}' does not occur in the train split\n"
                f"  classes: {', '.join(names[:20])}"
            )
        tensors[split] = torch.tensor([index[str(value)] for value in found], dtype=torch.int64)
    return Labels("class_index", tensors, names)


def _name(feature: Any, value: int) -> str:
    """The name of a label; unnamed labels, such as -1, are shown as numbers."""
    return str(feature.names[value]) if 0 <= value < feature.num_classes else str(value)
