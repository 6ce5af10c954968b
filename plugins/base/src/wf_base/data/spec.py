"""The data of a run as its components see them: facts about them, and the splits in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wf_base.data.batch import Batch
from wf_base.data.samples import Samples
from wf_base.task import TaskRuntime


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The facts that a run knows about its data."""

    name: str
    targets: str | None
    input_shape: tuple[int, ...] | None
    """The shape of a sample; None if inputs are a tree."""
    num_targets: int
    mask_shape: tuple[int, ...]
    """``(H, W)`` where targets are masks, else empty."""
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    feature_names: tuple[str, ...]
    vocab_size: int | None = None
    """The tokens of the vocabulary, None where inputs are numbers."""
    num_classes: int | None = None
    """The number of classes, None for a regression."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts about the samples, see `Dataset.facts`."""

    def values(self) -> dict[str, Any]:
        """The facts as run values."""
        shape = self.input_shape
        values: dict[str, Any] = {
            "dataset_targets": self.targets,
            "input_shape": shape,
            "num_features": None if shape is None else math.prod(shape),
            "num_channels": shape[0] if shape is not None and len(shape) == 3 else None,
            "num_classes": self.num_classes,
            "class_names": list(self.class_names) or None,
            "class_counts": list(self.class_counts) if self.class_counts else None,
            "feature_names": list(self.feature_names) or None,
            "vocab_size": self.vocab_size,
            "dataset_facts": dict(self.facts) or None,
        }
        return {name: value for name, value in values.items() if value is not None}


class ServedData(Protocol):
    """The data of a run, the run value `data`: the splits, transformed and served in batches."""

    spec: Spec
    batch_size: int
    task: TaskRuntime
    splits: tuple[str, ...]
    """The names of the available splits."""

    @property
    def collates(self) -> bool:
        """Whether the dataset or its task makes the batches."""

    def num_samples(self, split: str) -> int:
        """The samples of a split."""

    def samples(self, split: str) -> Samples:
        """The samples of a split, before the transforms that are applied to each batch.

        Raises:
            UsageError: If there is no such split.
        """

    def batches(self, split: str, batch_size: int | None = None, *, even: bool = False) -> Iterator[Batch]:
        """A split in order, deterministic transforms applied; this process's share where there are several.

        Args:
            split: Its name.
            batch_size: Batch size, of all processes together; None for that of training.
            even: Whether all processes get as many batches, the last one of which may count nothing: `Batch.share`.
        """
