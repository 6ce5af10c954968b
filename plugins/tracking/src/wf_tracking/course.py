"""The course of a figure over a run: whether it still improves, and whether its best value was left behind."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wf import Epochs, Loop
from wf.engine.figures import LOSS, divided, is_number

FELL = 0.05
"""A loss that scatters still falls if the last quarter of the run lowered it by more than this times the scale."""
FELL_STEADILY = 0.01
"""The same for a loss that fell in every evaluation of the run."""
CLEARLY = 0.1
"""The last value is clearly worse if it is worse than the best by more than this times the best."""
NUM_ERRORS = 2.0
"""Differences within this many standard errors may be chance."""
LONGER = 3
"""For a run that still improves the advice is to train this many times as long."""

_FEWEST, _FEWEST_STEADY = 4, 3


@dataclass(frozen=True, kw_only=True)
class Course:
    """The loss over a run.

    Args:
        values: One for each evaluation, or for each epoch of training.
        name: What it is called: ``validation loss``.
        each: What there is a value for: ``epoch`` or ``evaluation``.
        longer: The option that trains longer: ``--epochs 30``.
    """

    values: Sequence[float] = ()
    name: str = "the loss"
    each: str = "evaluation"
    longer: str = "--epochs or --steps with a larger number"

    def fell(self, scale: float | None) -> str:
        """Remark that it was still falling at the end of the run; empty if it was not, or if there are too few values.

        Args:
            scale: The loss of a constant prediction; None takes the first loss instead.
        """
        values = self.values
        if len(values) < _FEWEST_STEADY or not all(math.isfinite(value) for value in values):
            return ""
        unit = abs(scale or values[0])
        quarter = max(1, len(values) // 4)
        before, after = min(values[:-quarter]), min(values[-quarter:])
        steadily = all(later < earlier for earlier, later in itertools.pairwise(values))
        if steadily and before - after > FELL_STEADILY * unit:
            return f"{self.name} fell in every {self.each}, from {values[0]:.4g} to {values[-1]:.4g}"
        if len(values) >= _FEWEST and before - after > FELL * unit:
            return f"{self.name} was still falling, from {before:.4g} to {after:.4g} over the last quarter of the run"
        return ""

    def rose(self, scale: float | None) -> str:
        """Remark that it was larger at the end of the run than at its beginning; empty if it was not.

        Args:
            scale: The loss of a constant prediction, if that is known: a loss below it has not risen.
        """
        if len(self.values) < 2 or not self.values[-1] > max(self.values[0], scale or self.values[0]):
            return ""
        return f"{self.name} rose from {self.values[0]:.4g} to {self.values[-1]:.4g}"

    @property
    def advice(self) -> str:
        """The advice for a loss that is still falling."""
        return f"try {self.longer} or a larger --lr"


def losses_of(run: Loop, records: Iterable[Mapping[str, Any]]) -> Course:
    """The loss over the run: on validation if it was evaluated, else over the train epochs.

    Among several evaluations at one step the first counts; the last may use the best weights.
    """
    held_out: dict[int, Any] = {}
    epochs: list[Any] = []
    for record in records:
        if record["event"] == "eval" and record["split"] == "validation":
            held_out.setdefault(record["step"], record.get(LOSS))
        elif "epoch_loss" in record:
            epochs.append(record["epoch_loss"])
    values = [float(value) for value in held_out.values() if is_number(value)]
    by_epochs = isinstance(run.until, Epochs)
    longer = f"--{'epochs' if by_epochs else 'steps'} {LONGER * run.until.num}"
    if not values:
        values = [float(value) for value in epochs if is_number(value)]
        return Course(values=values, name="train loss", each="epoch", longer=longer)
    every = run.eval_every
    each = "epoch" if every is not None and every.unit == "epochs" and every.num == 1 else "evaluation"
    return Course(values=values, name="validation loss", each=each, longer=longer)


def left_behind(run: Loop, records: Iterable[Mapping[str, Any]], standard_error: float, scale: float | None) -> str:
    """Say that the last weights are clearly worse than the best, by the run's monitor; empty if they are not.

    Args:
        run: The run, at its end.
        records: Its records.
        standard_error: Of the monitored figure; 0 if it is unknown.
        scale: The loss of a constant prediction: a loss counts as clearly worse only by a hundredth of it.
    """
    watched, name = divided(run.monitor)
    larger = run.larger_is_better
    if run.keep != "last" or larger is None or watched not in run.evaluated:
        return ""
    values: dict[int, tuple[int, float]] = {}
    for record in records:
        value = record.get(name)
        if record["event"] == "eval" and record["split"] == watched and is_number(value) and math.isfinite(value):
            values.setdefault(record["step"], (record["epoch"], float(value)))
    if len(values) < 2:
        return ""
    best = (max if larger else min)(values, key=lambda step: values[step][1])
    last = max(values)
    margin = max(CLEARLY * abs(values[best][1]), NUM_ERRORS * standard_error)
    if name == LOSS and scale is not None:
        margin = max(margin, FELL_STEADILY * abs(scale))
    worse = (values[best][1] - values[last][1]) if larger else (values[last][1] - values[best][1])
    if worse <= margin:
        return ""
    by_epochs = run.eval_every is not None and run.eval_every.unit == "epochs"
    where = f"epoch {values[best][0] + 1}" if by_epochs else f"step {best}"
    figures = f"{watched} {name} {values[best][1]:.4g} at {where}, {values[last][1]:.4g} at the end"
    return f"clearly better than the last weights: {figures}; --keep best keeps these"
