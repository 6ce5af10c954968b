"""The targets of shards: classes, or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, unknown
from wf_webdataset.index import ShardIndex


class Targets:
    """The targets of each split."""

    def __init__(self, kind: str, tensors: Mapping[str, Tensor], class_names: Sequence[str] = ()) -> None:
        self.kind, self.tensors, self.class_names = kind, tensors, class_names

    @classmethod
    def of(
        cls,
        indexes: Mapping[str, Sequence[ShardIndex]],
        class_names: Sequence[str] | None,
        learned: Mapping[str, Any] | None,
        *,
        is_real: bool | None = None,
    ) -> Targets:
        """The targets of the shards.

        Args:
            indexes: The shards of each split.
            class_names: The class names, if the user gave them.
            learned: The values that the run derived from its data at its start, if it is a resumed one.
            is_real: Whether the task is a regression; None to take it from `learned`, or infer it from the train split.
        """
        names = class_names if learned is None else list(learned["class_names"]) or None
        if is_real is None and learned is not None:
            is_real = names is None
        values = {split: [target for one in own for target in one.targets] for split, own in indexes.items()}
        if is_real is None:
            is_real = names is None and any(isinstance(value, (float, list)) for value in values["train"])
        if is_real:
            tensors = {split: _real(indexes[split], own) for split, own in values.items()}
            return cls("real", tensors)
        wrong = next((row for row, value in enumerate(values["train"]) if isinstance(value, list)), None)
        if wrong is not None:
            raise DataError(f"{_place(indexes['train'], wrong)}: the target is a list of numbers, not a class")
        if names is None:
            distinct = set(values["train"])
            numbers = all(isinstance(value, (int, float)) for value in distinct)
            names = [str(one) for one in (sorted(distinct) if numbers else sorted(distinct, key=str))]
            if len(names) < 2:
                raise DataError(f"'{indexes['train'][0].url}' has only one class: '{names[0]}'")
            texts = True
        else:  # the targets are class names or class numbers
            texts = any(str(value) in names for value in values["train"])
        return cls(
            "class_index",
            {split: _classes(indexes[split], own, names, texts=texts) for split, own in values.items()},
            list(names),
        )


def _real(indexes: Sequence[ShardIndex], values: Sequence[Any]) -> Tensor:
    rows = [value if isinstance(value, list) else [value] for value in values]
    for row, value in enumerate(values):
        if isinstance(value, str):
            raise DataError(f"{_place(indexes, row)}: the target is '{value}', but other targets are numbers")
        if len(rows[row]) != len(rows[0]):
            raise DataError(
                f"{_place(indexes, row)}: the target has {len(rows[row])} numbers, but that of the first sample has "
                f"{len(rows[0])}"
            )
    return torch.tensor(rows, dtype=torch.float32)


def _classes(indexes: Sequence[ShardIndex], values: Sequence[Any], names: Sequence[str], *, texts: bool) -> Tensor:
    """The class indices of targets, which are class names (`texts`) or class numbers."""
    index = {name: number for number, name in enumerate(names)} if texts else {}
    found = []
    for row, value in enumerate(values):
        number = index.get(str(value)) if texts else value
        if not isinstance(number, int) or not 0 <= number < len(names):
            hint = "the classes come from the train shards, or from --dataset.class_names"
            raise DataError(f"{_place(indexes, row)}: {unknown('class', str(value), names, hint)}")
        found.append(number)
    return torch.tensor(found, dtype=torch.int64)


def _place(indexes: Sequence[ShardIndex], row: int) -> str:
    for index in indexes:
        if row < len(index.keys):
            return f"'{index.url}', sample '{index.keys[row]}'"
        row -= len(index.keys)
    raise AssertionError(row)
