"""The curves of a run, from the records in its ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf import rundir
from wf.errors import DataError

_POSITION = {"event", "split", "epoch", "step"}
_TRAIN_LOSSES = ("loss", "running_loss", "epoch_loss")


@dataclass(kw_only=True)
class Curve:
    """One figure of one split over the run."""

    split: str
    steps: list[int] = field(default_factory=list)
    """Completed updates."""
    values: list[float] = field(default_factory=list)
    """nan where the figure was not finite."""

    def add(self, step: int, value: float | None) -> None:
        """Add a point; of several at one step the first counts (the last may be of the best weights)."""
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
            self.values.append(math.nan if value is None else float(value))


@dataclass(kw_only=True)
class History:
    """The curves of a run."""

    running_loss: Curve
    """The train loss since the record before."""
    epoch_loss: Curve
    """The train loss over each epoch."""
    evaluated: dict[str, list[Curve]]
    """The evaluated figures by name, a curve a split: ``loss``, ``accuracy``, ..."""
    logged: dict[str, Curve]
    """What else the train records hold, as ``lr``."""
    steps_per_epoch: float | None
    """Updates in an epoch; None when no epoch was finished."""
    num_steps: int
    """Updates in all."""


def read_records(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run directory.

    Raises:
        DataError: When there are none.
    """
    path = run_dir / "metrics.jsonl"
    if not path.is_file():
        raise DataError(f"there is no {path}, which a run writes its figures to; is '{run_dir}' a run directory?")
    return list(rundir.read_records(path))


def curves(records: Iterable[dict[str, Any]]) -> History:
    """Sort records into curves; figures that are no single number are left out."""
    records = list(records)
    train = [record for record in records if record.get("event") == "train"]
    history = History(
        running_loss=_curve(train, "running_loss"),
        epoch_loss=_curve(train, "epoch_loss"),
        evaluated={},
        logged={name: _curve(train, name) for name in _names(train) if name not in _TRAIN_LOSSES},
        steps_per_epoch=_steps_per_epoch(train),
        num_steps=max((record["step"] for record in records), default=0),
    )
    evaluations = [record for record in records if record.get("event") == "eval"]
    for name in _names(evaluations):
        splits = dict.fromkeys(record["split"] for record in evaluations if _is_figure(record, name))
        history.evaluated[name] = [
            _curve([record for record in evaluations if record["split"] == split], name) for split in splits
        ]
    return history


def _curve(records: Sequence[dict[str, Any]], name: str) -> Curve:
    curve = Curve(split=records[0]["split"] if records else "train")
    for record in records:
        if _is_figure(record, name):
            curve.add(record["step"], record[name])
    return curve


def _is_figure(record: dict[str, Any], name: str) -> bool:
    return name in record and (record[name] is None or isinstance(record[name], (int, float)))


def _names(records: Iterable[dict[str, Any]]) -> list[str]:
    """The figures that are a number somewhere, in the order in which they came."""
    found: dict[str, None] = {}
    for record in records:
        found |= {name: None for name, value in record.items() if isinstance(value, (int, float))}
    return [name for name in found if name not in _POSITION]


def _steps_per_epoch(train: Sequence[dict[str, Any]]) -> float | None:
    ends = [record for record in train if "epoch_loss" in record]
    return ends[-1]["step"] / (ends[-1]["epoch"] + 1) if ends else None
