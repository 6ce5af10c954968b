"""What goes through the loop: plain batches in, losses out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from wf.errors import UsageError


class Batches:
    """Serves a plain iterable as training data."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        try:
            self.num_batches = len(batches) if isinstance(batches, Sized) else None
        except TypeError:  # a DataLoader has a length only where its dataset has one
            self.num_batches = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """One pass over the iterable from batch `start` on."""
        for number, batch in enumerate(self._batches):
            if number >= start:
                yield as_batch(batch)


def as_batch(batch: Any) -> Any:
    """A pair ``(inputs, targets)`` as a batch; a batch as it is."""
    if isinstance(getattr(batch, "size", None), int):
        return batch
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return PlainBatch(*batch)
    raise UsageError(f"a batch is {type(batch).__name__}; it must be a pair (inputs, targets) or have an int `size`")


class PlainBatch:
    """A batch made of ``(inputs, targets)``."""

    __slots__ = ("inputs", "mask", "sample_ids", "size", "targets")

    def __init__(self, inputs: Any, targets: Any) -> None:
        self.inputs, self.targets = inputs, targets
        self.sample_ids = self.mask = None
        self.size = len(inputs)


@dataclass
class Losses:
    """The losses that have been read, as far as records to come need them."""

    last: float | None = None
    since_record: list[float] = field(default_factory=list)
    epoch_sum: float = 0.0
    """Of each batch's loss times its size."""
    epoch_samples: int = 0

    @property
    def finite(self) -> bool:
        """Whether every loss since the last record is."""
        return all(map(math.isfinite, self.since_record))

    def add(self, losses: Sequence[float], sizes: Sequence[int]) -> None:
        """Take in losses and the sizes of their batches."""
        for loss, size in zip(losses, sizes, strict=True):
            self.last = loss
            self.since_record.append(loss)
            self.epoch_sum += loss * size
            self.epoch_samples += size

    def record(self, *, end_of_epoch: bool) -> dict[str, Any]:
        """The next record; empty when there is nothing to say."""
        record: dict[str, Any] = {}
        if self.since_record:
            record = {"loss": self.last, "running_loss": math.fsum(self.since_record) / len(self.since_record)}
            self.since_record = []
        if end_of_epoch and self.epoch_samples:
            record = {"loss": self.last, **record, "epoch_loss": self.epoch_sum / self.epoch_samples}
            self.epoch_sum, self.epoch_samples = 0.0, 0
        return record


def read_each(losses: Sequence[Any]) -> list[float]:
    """The losses as numbers, one by one; for a trainer that has no `read`."""
    try:
        return [float(loss) for loss in losses]
    except (TypeError, ValueError) as error:
        raise UsageError(f"the trainer's train_step must return the loss, a number or a 0-d tensor: {error}") from error
