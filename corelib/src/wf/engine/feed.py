"""The input and output of the loop: plain batches in, losses out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from typing import Any

from wf.engine.figures import LOSS, OF_STEPS, POSITION
from wf.errors import UsageError


class Batches:
    """Serves a plain iterable as training data."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        try:
            self.num_batches = len(batches) if isinstance(batches, Sized) else None
        except TypeError:  # a DataLoader has a length only if its dataset has one
            self.num_batches = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """One pass over the iterable from batch `start` on."""
        for number, batch in enumerate(self._batches):
            if number >= start:
                yield as_batch(batch)


def as_batch(batch: Any) -> Any:
    """Convert a pair ``(inputs, targets)`` to a batch; a batch is returned unchanged."""
    if isinstance(getattr(batch, "size", None), int):
        return batch
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return PlainBatch(*batch)
    items = f" of {len(batch)} items" if isinstance(batch, (tuple, list)) else ""
    raise UsageError(
        f"a batch is a {type(batch).__name__}{items}; it must be a pair (inputs, targets) or have an int `size`"
    )


class PlainBatch:
    """A batch made of ``(inputs, targets)``."""

    __slots__ = ("inputs", "mask", "sample_ids", "size", "targets")

    def __init__(self, inputs: Any, targets: Any) -> None:
        self.inputs, self.targets = inputs, targets
        self.sample_ids = self.mask = None
        try:
            self.size = inputs.shape[0]
        except (AttributeError, IndexError, TypeError):  # not an array, or one without dimensions
            self.size = num_samples(inputs, targets)


def num_samples(inputs: Any, targets: Any) -> int:
    """The number of samples of a pair whose inputs are not one array: one value per sample, or several arrays.

    Raises:
        UsageError: If the number is ambiguous.
    """
    leads = {_lead(leaf) for leaf in _arrays(inputs)}
    if not leads and not isinstance(inputs, Mapping):
        return _length(inputs)
    if _lead(targets) is not None:
        return int(targets.shape[0])
    if isinstance(targets, (tuple, list)) and not any(isinstance(one, Mapping) or _arrays(one) for one in targets):
        return len(targets)
    lead = leads.pop() if len(leads) == 1 else None
    if lead is None or isinstance(targets, (tuple, list)):  # each array may be one sample
        kind = type(inputs).__name__
        raise UsageError(
            f"a batch's inputs are a {kind}, and neither its arrays nor the targets say how many samples it has\n"
            "  give batches that have an int `size` besides whatever the trainer needs"
        )
    return lead


def _arrays(value: Any) -> list[Any]:
    """The arrays and tensors in a value, however deep they are nested."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for one in value for leaf in _arrays(one)]
    return [value] if hasattr(value, "shape") else []


def _lead(array: Any) -> int | None:
    """The length of an array's first dimension; None if it has none."""
    shape: Any = getattr(array, "shape", ())
    return int(shape[0]) if len(shape) else None


def _length(inputs: Any) -> int:
    try:
        return len(inputs)
    except TypeError as error:
        raise UsageError(f"a batch's inputs are a {type(inputs).__name__}, which has no length: {inputs!r}") from error


@dataclass
class Losses:
    """The losses that have been read, accumulated for the coming records."""

    last: float | None = None
    since_record: list[float] = field(default_factory=list)
    epoch_sum: float = 0.0
    """The sum of each batch's loss times its size."""
    epoch_samples: int = 0
    parts: dict[str, list[float]] = field(default_factory=dict)
    """Terms of the loss and other figures since the last record, by name: sum and count."""
    epoch_parts: dict[str, list[float]] = field(default_factory=dict)
    """Per name, over the epoch: the sum of values times batch sizes, and the number of samples."""

    def state(self) -> dict[str, Any]:
        """Its fields; a loss with one term has fewer."""
        return {name: value for name, value in asdict(self).items() if value != {}}

    @property
    def finite(self) -> bool:
        """Whether every loss since the last record is finite."""
        return all(map(math.isfinite, self.since_record))

    def first_bad(self, step: int) -> int | None:
        """The step of the first loss since the last record that is not finite; the last one is of `step`."""
        begin = step - len(self.since_record) + 1
        return next((begin + place for place, loss in enumerate(self.since_record) if not math.isfinite(loss)), None)

    def add(self, losses: Sequence[Any], sizes: Sequence[int]) -> None:
        """Update with losses, or figures by name with the loss among them, and the sizes of their batches."""
        for given, size in zip(losses, sizes, strict=True):
            loss = given
            if given.__class__ is dict:  # isinstance would be one more call per step
                loss = given[LOSS]
                self._add_parts(given, size)
            self.last = loss
            self.since_record.append(loss)
            self.epoch_sum += loss * size
            self.epoch_samples += size

    def record(self, *, end_of_epoch: bool) -> dict[str, Any]:
        """The next record; empty if nothing is new.

        The terms of the loss, and other figures of the steps, are means since the last record; at the end of an epoch,
        over the epoch.

        Raises:
            UsageError: For a figure of the trainer whose name a record already uses.
        """
        record: dict[str, Any] = {}
        if self.epoch_parts:
            self._check_names()
        if self.since_record:
            record = {"loss": self.last, "running_loss": math.fsum(self.since_record) / len(self.since_record)}
            record |= _means(self.parts)
            self.since_record, self.parts = [], {}
        if end_of_epoch and self.epoch_samples:
            record = {"loss": self.last, **record, "epoch_loss": self.epoch_sum / self.epoch_samples}
            record |= _means(self.epoch_parts)
            self.epoch_sum, self.epoch_samples, self.epoch_parts = 0.0, 0, {}
        return record

    def _check_names(self) -> None:
        """Refuse figures of the trainer with names that a record already uses."""
        if wrong := sorted({*self.parts, *self.epoch_parts} & {*OF_STEPS, *POSITION}):
            raise UsageError(
                f"the trainer gave a figure the name '{wrong[0]}', which a train record uses for another figure\n"
                f"  taken: {', '.join((*OF_STEPS, *POSITION))}"
            )

    def _add_parts(self, figures: Mapping[str, float], size: int) -> None:
        for name, value in figures.items():
            if name != LOSS:
                for sums, weight in ((self.parts, 1), (self.epoch_parts, size)):
                    total, num = sums.get(name, (0.0, 0))
                    sums[name] = [total + value * weight, num + weight]


def _means(sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: total / num for name, (total, num) in sums.items()}


def read_each(losses: Sequence[Any]) -> list[Any]:
    """The losses as numbers, read one by one; for a trainer without `read`."""
    try:
        return [
            {name: float(value) for name, value in loss.items()} if loss.__class__ is dict else float(loss)
            for loss in losses
        ]
    except (TypeError, ValueError) as error:
        raise UsageError(f"the trainer's train_step must return the loss, a number or a 0-d tensor: {error}") from error
