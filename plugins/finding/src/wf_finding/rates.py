"""The learning-rate range test of Smith (2017), https://arxiv.org/abs/1506.01186: the rate grows at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch

from wf import Hook, Loop
from wf.errors import UsageError

SMOOTHING = 0.8
"""The weight of earlier losses in the smoothed one."""
FLAT = 0.02
"""A loss that falls by less than this share of the first one counts as flat."""
MIN_STEPS = 10
"""The minimum number of steps before the loss diverges; fewer give no curve."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The loss over the learning rate."""

    rates: list[float]
    losses: list[float]
    """The loss of the step with each rate, before its update; nan or infinite for a run that diverged."""
    smoothed: list[float]
    """Exponential moving averages of the finite losses, corrected for their start."""
    diverged: bool
    """Whether the test ended because the loss rose far above the first one."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A learning rate, and why."""

    rate: float
    reason: str


class RateTest(Hook):
    """Sets the learning rate of each step, and ends the run once the loss rises far above the first one.

    Args:
        optimizer: The optimizer whose rates are set; groups with different rates keep their ratios.
        lowest: The rate of the first step, for the group with the largest rate.
        highest: The rate of the last step.
        num_steps: The number of steps.
    """

    def __init__(self, optimizer: Any, lowest: float, highest: float, num_steps: int) -> None:
        self.optimizer, self.num_steps = optimizer, num_steps
        self._growth = (highest / lowest) ** (1 / max(num_steps - 1, 1))
        found = [group.get("lr") for group in optimizer.param_groups]
        if any(rate is None for rate in found):
            raise UsageError(f"{type(optimizer).__name__} has no learning rate 'lr' that could be tried")
        largest = max(float(rate) for rate in found)
        if largest <= 0:
            raise UsageError("all learning rates of the run are 0: set one that is not, such as --optimizer.lr 0.1")
        self._shares = [float(rate) / largest for rate in found]
        self._rate = lowest
        self._average, self._best = 0.0, math.inf
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False

    @property
    def curve(self) -> Curve:
        """The loss over the rates so far."""
        return Curve(rates=self.rates, losses=self.losses, smoothed=self.smoothed, diverged=self.diverged)

    def on_run_start(self, run: Loop) -> None:
        """Set the first rate."""
        self._set()

    def on_step_end(self, run: Loop) -> None:
        """Record the loss and set the next rate: the host waits for the device."""
        loss = float(run.loss)
        self.rates.append(self._rate)
        self.losses.append(loss)
        if not math.isfinite(loss) or self._rises(loss):
            self.diverged = True
            run.stop("the loss rises far above the first one")
        self._rate *= self._growth
        self._set()

    def _rises(self, loss: float) -> bool:
        """Whether the smoothed loss exceeds the first one by more than the fall so far, or is twice as large."""
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        smoothed = self._average / (1 - SMOOTHING ** (len(self.smoothed) + 1))
        self.smoothed.append(smoothed)
        self._best = min(self._best, smoothed)
        first = self.smoothed[0]
        return len(self.smoothed) > 1 and smoothed > first + max(first - self._best, abs(first))

    def _set(self) -> None:
        for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(self._rate * share)
            else:
                group["lr"] = self._rate * share


def suggest(curve: Curve) -> Suggestion:
    """The last rate before the lowest loss at which the smoothed loss has not yet fallen halfway.

    If the curve falls only once, this is about where it falls fastest; the method is robust to a few noisy losses.

    Raises:
        UsageError: For a loss that diverges at once or stays flat, with advice.
    """
    rates, smoothed = curve.rates, curve.smoothed
    if len(smoothed) < 2:
        raise _no_fall(curve)
    at = min(range(len(smoothed)), key=smoothed.__getitem__)
    begin = curve.losses[: max(len(smoothed) // 10, 3)]
    first = fmean(begin)
    fall = first - smoothed[at]
    if at == 0 or fall <= max(FLAT * abs(first), stdev(begin)):
        raise _no_fall(curve)
    middle = first - fall / 2
    chosen = max((index for index in range(at) if smoothed[index] >= middle), default=0)
    end = f"it diverges at {short(rates[-1])}" if curve.diverged else f"it does not diverge up to {short(rates[-1])}"
    reason = (
        f"up to there the loss falls less than halfway, from {first:.4g} to its lowest, {smoothed[at]:.4g} at "
        f"{short(rates[at])}; {end}"
    )
    return Suggestion(rate=float(short(rates[chosen])), reason=reason)


def _no_fall(curve: Curve) -> UsageError:
    """The error that no rate lowers the loss, with advice."""
    lowest, highest = curve.rates[0], curve.rates[-1]
    if curve.diverged and len(curve.rates) <= MIN_STEPS:
        num_steps = "1 step" if len(curve.rates) == 1 else f"{len(curve.rates)} steps"
        return UsageError(
            f"the loss diverges at once: after {num_steps}, from a learning rate of {short(lowest)} on"
            f"\n  try smaller rates: --min {short(lowest / 1e4)}"
        )
    if curve.diverged:
        return UsageError(
            f"the loss does not fall at any learning rate from {short(lowest)} on; it diverges at {short(highest)}"
            "\n  try more steps (--num-steps 300), or check data, model and loss"
        )
    return UsageError(
        f"the loss stays flat from a learning rate of {short(lowest)} to {short(highest)}"
        f"\n  try larger rates: --max {short(highest * 1e3)}; or the model has nothing to learn from its inputs"
    )


def short(rate: float) -> str:
    """A rate with two digits: 0.0032, 1e-05."""
    return f"{rate:.2g}"


def bounds(lowest: float, highest: float, num_steps: int) -> None:
    """Refuse an invalid range.

    Raises:
        UsageError: Naming the wrong option.
    """
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"--min {lowest:g} and --max {highest:g}: rates must be larger than 0, and --max above --min")
    if num_steps < MIN_STEPS:
        raise UsageError(f"--num-steps {num_steps}: a curve needs at least {MIN_STEPS}")
