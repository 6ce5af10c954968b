"""The curves of a run, from the records in its ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf import Loop
from wf.engine.figures import POSITION
from wf.errors import DataError
from wf_storage import manifests

MAX_POINTS = 8192
"""Maximum number of points in a curve: more than a plot can show."""
COLOURS = {"train": "#0072B2", "validation": "#D55E00", "test": "#009E73", "predictions": "#111111"}
"""Colour-blind safe palette of Okabe and Ito (2008), by split."""
_TRAIN_LOSSES = ("loss", "running_loss", "epoch_loss")


@dataclass(kw_only=True)
class Curve:
    """One figure of one split over the run.

    A long curve is thinned as it grows: of four neighbours the lowest and the highest are kept, so that everything
    visible in a plot remains, even a single peak.
    """

    split: str
    steps: list[int] = field(default_factory=list)
    """Completed updates."""
    values: list[float] = field(default_factory=list)
    """nan if the figure was not finite."""
    last: int = -1
    """The last step that was added."""

    def add(self, step: int, value: float | None) -> None:
        """Add a point; among several at one step the first counts (the last may use the best weights)."""
        if step <= self.last:
            return
        self.last = step
        self.steps.append(step)
        self.values.append(math.nan if value is None else float(value))
        if len(self.steps) >= MAX_POINTS:
            kept = [index for start in range(0, len(self.steps), 4) for index in self._ends(range(start, start + 4))]
            self.steps, self.values = [self.steps[index] for index in kept], [self.values[index] for index in kept]

    def _ends(self, indices: range) -> list[int]:
        """The lowest and the highest of several points, in order; one that is not finite counts as the highest."""
        ordered = sorted(indices, key=lambda index: (math.isnan(self.values[index]), self.values[index]))
        return sorted({ordered[0], ordered[-1]})


@dataclass(kw_only=True)
class History:
    """The curves of a run."""

    running_loss: Curve
    """The train loss since the previous record."""
    epoch_loss: Curve
    """The train loss over each epoch."""
    evaluated: dict[str, list[Curve]]
    """The evaluated figures by name, one curve per split: ``loss``, ``accuracy``, ..."""
    logged: dict[str, Curve]
    """Other figures in the train records, such as ``lr``."""
    steps_per_epoch: float | None
    """Updates per epoch; None if no epoch was finished."""
    num_steps: int
    """Updates in total."""


def read_records(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The records of a run directory, one at a time.

    Raises:
        DataError: If there are none.
    """
    path = run_dir / "metrics.jsonl"
    if not path.is_file():
        raise DataError(f"there is no {path}, the file with a run's figures; is '{run_dir}' a run directory?")
    return manifests.read_records(path)


def records_of(run: Loop) -> Sequence[dict[str, Any]]:
    """The records of a run so far, including those before it was resumed; empty if none are kept."""
    kept = (hook.records for hook in run.hooks if getattr(hook, "keeps_records", False))
    return next(kept, [])


def curves(records: Iterable[dict[str, Any]]) -> History:
    """Sort records into curves, in one pass; figures that are not single numbers are skipped."""
    train, evaluated = _Curves(), _Curves()
    num_steps, steps_per_epoch = 0, None
    for record in records:
        num_steps = max(num_steps, record["step"])
        if record.get("event") == "train":
            train.add(record)
            if "epoch_loss" in record:
                steps_per_epoch = record["step"] / (record["epoch"] + 1)
        elif record.get("event") == "eval":
            evaluated.add(record)
    logged = {name: splits[0] for name, splits in train.named().items()}
    return History(
        running_loss=logged.get("running_loss", Curve(split="train")),
        epoch_loss=logged.get("epoch_loss", Curve(split="train")),
        evaluated=evaluated.named(),
        logged={name: curve for name, curve in logged.items() if name not in _TRAIN_LOSSES},
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
    )


class _Curves:
    """Curves by name and split."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Curve]] = {}
        self._numbers: dict[str, None] = {}
        """Names with at least one number, in order of appearance."""

    def add(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name in POSITION or not (value is None or isinstance(value, (int, float))):
                continue
            if value is not None:
                self._numbers.setdefault(name)
            split = record["split"]
            splits = self._found.setdefault(name, {})
            if split not in splits:
                splits[split] = Curve(split=split)
            splits[split].add(record["step"], value)

    def named(self) -> dict[str, list[Curve]]:
        return {name: list(self._found[name].values()) for name in self._numbers}
