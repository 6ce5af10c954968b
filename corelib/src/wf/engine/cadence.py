"""Progress and cadence: the position of a run, its length, and when something is due."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from wf.errors import DataError, UsageError

_LOG = logging.getLogger("wf")


@dataclass(slots=True)
class Progress:
    """The position in a run. It is saved in checkpoints, and nothing else counts steps."""

    epoch: int = 0
    """Epochs completed, which is also the index of the present one."""
    step: int = 0
    """Updates completed."""
    batch: int = 0
    """Batches done in the present epoch."""
    samples: int = 0
    """Samples seen."""


@dataclass(frozen=True)
class Epochs:
    """Train until this many epochs are done."""

    num: int

    def reached(self, progress: Progress) -> bool:
        """Whether they are done."""
        return progress.epoch >= self.num


@dataclass(frozen=True)
class Steps:
    """Train until this many updates are done."""

    num: int

    def reached(self, progress: Progress) -> bool:
        """Whether they are done."""
        return progress.step >= self.num


@dataclass(frozen=True)
class Every:
    """A cadence: every `num` steps, epochs or minutes."""

    num: float
    unit: str = "epochs"

    def __post_init__(self) -> None:
        whole = self.unit == "minutes" or float(self.num).is_integer()
        if self.unit not in ("steps", "epochs", "minutes") or not 0 < self.num < math.inf or not whole:
            raise UsageError(f"'{self}' is not a cadence; write for example 50steps, 2epochs or 10min")

    @classmethod
    def parse(cls, text: str | float) -> Every:
        """Read ``50steps``, ``2epochs``, ``10min``, or a bare number of epochs.

        Raises:
            UsageError: For anything else.
        """
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(steps?|epochs?|min|minutes?)?", str(text).strip())
        if not match:
            raise UsageError(f"'{text}' is not a cadence; write for example 50steps, 2epochs or 10min")
        return cls(float(match[1]), {"s": "steps", "m": "minutes"}.get((match[2] or "e")[0], "epochs"))

    def __str__(self) -> str:
        num = int(self.num) if float(self.num).is_integer() else self.num
        return f"{num}{'min' if self.unit == 'minutes' else self.unit}"

    def due(self, count: int, unit: str) -> bool:
        """Whether it is due when `count` of `unit` are done; minutes are for the loop's clock."""
        return self.unit == unit and count % int(self.num) == 0

    def next(self, count: int) -> int:
        """The first count after this one at which it is due; not for minutes."""
        return count + int(self.num) - count % int(self.num)


def is_due(cadence: Every | None, count: int, unit: str) -> bool:
    """As `Every.due`; a cadence that is None is never due."""
    return cadence is not None and cadence.due(count, unit)


def check_cadences(log_every: int, eval_every: Every | None) -> None:
    """Refuse cadences that the loop does not support.

    Raises:
        UsageError: For fewer than one batch between two records, or a cadence of evaluations in minutes.
    """
    if log_every < 1:
        raise UsageError(f"log_every must be at least 1, not {log_every}")
    if eval_every is not None and eval_every.unit == "minutes":
        raise UsageError(f"eval_every counts epochs or steps, not minutes: {eval_every}")


def next_pause(progress: Progress, log_every: int, cadences: Iterable[Every | None], until: Epochs | Steps) -> int:
    """The next step after which a log record, an evaluation, a checkpoint or the end is due."""
    candidates = [progress.step + log_every - (progress.batch - 1) % log_every]
    for cadence in cadences:
        if cadence is not None and cadence.unit == "steps":
            candidates.append(cadence.next(progress.step))
    if isinstance(until, Steps):
        candidates.append(max(until.num, progress.step + 1))
    return min(candidates)


def check_epoch(progress: Progress, num_batches: int | None) -> None:
    """Warn of an epoch with another number of batches than the data say; None is an unknown number.

    Raises:
        DataError: For an epoch without batches.
    """
    if progress.batch == 0:
        raise DataError(
            f"there are no batches to train on in epoch {progress.epoch + 1}\n"
            "  an iterator is used up after one pass: give a list, a DataLoader or a TrainData"
        )
    if num_batches is not None and progress.batch != num_batches:
        number, found = progress.epoch + 1, progress.batch
        _LOG.warning("epoch %d had %d batches, and the data say that it has %d", number, found, num_batches)
