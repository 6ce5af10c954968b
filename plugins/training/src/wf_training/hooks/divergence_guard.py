"""The guard against divergence."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from wf import Hook, Loop
from wf.errors import DivergedError, UsageError

_CAUSE = "most often the learning rate is too large{lr}, or the inputs are not scaled"
_REMEDY = "try a smaller --lr{lr}, --transform standardize, or --hook +gradient-clip"


class DivergenceGuard(Hook):
    """Ends the run when a loss is not finite, and warns once when the training loss keeps rising.

    It reads the records of the loop, so it costs nothing per step, and a checkpoint is never committed after a loss
    that was not finite. Rising means: `patience` records in a row are each higher than every record before them, and
    the last is at least `factor` times the level that the rise began from. Losses that only scatter about a level
    have such a streak with probability ``1 / ((patience - 1) * patience!)`` whatever their distribution and however
    long the run (1 in 480 for 5, the chance of successive records in exchangeable draws), before `factor` is asked
    for, and never when they stay within a factor of `factor`.

    Args:
        factor: How many times the level before the rise the loss must reach.
        patience: How many records in a row must be higher than everything before them.

    Raises:
        UsageError: For a `factor` or `patience` out of range.
    """

    def __init__(self, factor: float = 2.0, patience: int = 5) -> None:
        if not factor > 1:
            raise UsageError(f"divergence-guard: factor is {factor:g}; it must be larger than 1")
        if patience < 2:
            raise UsageError(f"divergence-guard: patience is {patience}; it must be at least 2")
        self.factor, self.patience = factor, patience
        self.highest: float | None = None
        self.before_rise: float | None = None
        self.num_rises = 0
        self.warned = False
        self.last_finite: tuple[int, float] | None = None

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Look at the losses since the last record."""
        losses = [record[name] for name in ("running_loss", "loss", "epoch_loss") if name in record]
        for loss in losses:
            if not math.isfinite(loss):
                raise DivergedError(self._message(run, "training loss", loss, record.get("lr")))
        if "running_loss" in record:
            self.last_finite = (run.progress.step, record["running_loss"])
            self._watch(record["running_loss"], record.get("lr"))

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Look at the loss of an evaluated split."""
        loss = metrics.get("loss")
        if isinstance(loss, float) and not math.isfinite(loss):
            raise DivergedError(self._message(run, f"{split} loss", loss, None))

    def state_dict(self) -> dict[str, Any]:
        """What it has seen of the losses."""
        return {
            "highest": self.highest,
            "before_rise": self.before_rise,
            "num_rises": self.num_rises,
            "warned": self.warned,
            "last_finite": None if self.last_finite is None else list(self.last_finite),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.highest, self.before_rise = state["highest"], state["before_rise"]
        self.num_rises, self.warned = state["num_rises"], state["warned"]
        last = state["last_finite"]
        self.last_finite = None if last is None else (last[0], last[1])

    def _watch(self, loss: float, lr: float | None) -> None:
        if self.highest is None or loss > self.highest:
            if self.num_rises == 0:
                self.before_rise = self.highest
            self.num_rises += self.highest is not None
            self.highest = loss
        else:
            self.num_rises = 0
        start = self.before_rise
        if self.warned or self.num_rises < self.patience or start is None:
            return
        if loss - start >= (self.factor - 1) * abs(start):
            self.warned = True
            logging.getLogger("wf").warning(
                "the loss is rising: %s -> %s over %d records\n  %s\n  %s",
                *(_text(start), _text(loss), self.num_rises, *_advice(lr)),
            )

    def _message(self, run: Loop, what: str, loss: float, lr: float | None) -> str:
        lines = [f"the {what} is not finite ({loss}) at step {run.progress.step}, epoch {run.progress.epoch + 1}"]
        if self.last_finite is None:
            lines.append("no training loss before it was seen to be finite")
        else:
            step, value = self.last_finite
            lines.append(f"the training loss was last seen finite at step {step}: {_text(value)}")
        return "\n  ".join([*lines, *_advice(lr)])


def _advice(lr: float | None) -> tuple[str, str]:
    known = lr is not None and lr > 0
    return (
        _CAUSE.format(lr=f" ({lr:g})" if known else ""),
        _REMEDY.format(lr=f" ({lr / 10:g})" if known and lr is not None else ""),
    )


def _text(loss: float) -> str:
    return f"{loss:.1f}" if 100 <= abs(loss) < 1e6 else f"{loss:.5g}"
