"""Early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from wf import Hook, Loop
from wf.engine.figures import Monitor
from wf.errors import UsageError

_OPTION = "--hook.early-stopping.monitor"


class EarlyStopping(Hook):
    """Ends the run if a figure has not improved for several evaluations (Prechelt 1998, "Early Stopping - but when?").

    Improvements smaller than `min_delta` do not count. NaN counts as no improvement. The final evaluation of the
    run has no effect.

    Args:
        monitor: The monitored figure, such as ``validation/loss`` or, with its direction, ``validation/accuracy:max``.
        directions: Whether a larger figure is better, by name without the split.
        patience: Number of consecutive evaluations without an improvement.
        min_delta: Minimum improvement over the best figure, in its own unit.
        mode: Whether smaller (``min``) or larger (``max``) is better; ``auto`` uses the declared direction.

    Raises:
        UsageError: For an option out of range, a monitor that the run does not evaluate, one that is not a number, or
            one with unknown direction.
    """

    told_last = True

    def __init__(
        self,
        monitor: str,
        directions: dict[str, bool],
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["auto", "min", "max"] = "auto",
    ) -> None:
        self._monitor = Monitor.read(monitor, directions)
        self.monitor, self.split = self._monitor.figure, self._monitor.split
        if not self.split or not self._monitor.name:
            raise UsageError(f"early-stopping: monitor '{monitor}' is not of the form SPLIT/FIGURE: validation/loss")
        if patience < 1:
            raise UsageError(f"early-stopping: patience is {patience}; it must be at least 1")
        if not min_delta >= 0:
            raise UsageError(f"early-stopping: min_delta is {min_delta:g}; it must be 0 or more")
        if mode not in ("auto", "min", "max"):
            raise UsageError(f"early-stopping: mode is '{mode}'; choose from auto, min, max")
        self.patience, self.min_delta = patience, min_delta
        if mode != "auto":
            self._monitor = replace(self._monitor, larger_is_better=mode == "max")
        self.best: float | None = None
        self.num_waited = 0
        self._read_after = self.split

    def on_run_start(self, run: Loop) -> None:
        """Check that the figure will exist, as far as known, and has a direction."""
        self._read_after = run.expect(self._monitor, _OPTION, "early-stopping")
        self._larger_is_better()

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Compare the figure with the best one so far."""
        if split != self._read_after or run.finished:
            return
        figures = {**run.figures, **{f"{split}/{name}": value for name, value in metrics.items()}}
        value = self._monitor.value(figures, "early-stopping", _OPTION)
        if self._improves(value):
            self.best, self.num_waited = value, 0
            return
        self.num_waited += 1
        if self.num_waited >= self.patience:
            run.stop(self._reason(value))

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far and the number of evaluations since."""
        return {"best": self.best, "num_waited": self.num_waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.best, self.num_waited = state["best"], state["num_waited"]

    def _improves(self, value: float) -> bool:
        larger = self._larger_is_better()
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if larger else self.best - value
        return gain > 0 and gain >= self.min_delta

    def _larger_is_better(self) -> bool:
        return self._monitor.direction(_OPTION, "early-stopping", mode=True)

    def _reason(self, value: float) -> str:
        best = "a finite value" if self.best is None else f"{self.best:.6g}"
        by = f" by {self.min_delta:g} or more" if self.min_delta else ""
        times = "evaluation" if self.num_waited == 1 else f"{self.num_waited} evaluations"
        return f"{self.monitor} has not improved on {best}{by} in the last {times} (now {value:.6g})"
