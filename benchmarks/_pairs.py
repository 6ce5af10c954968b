"""Steps of a run and of a loop written by hand, taken in turn in one process, so that both meet the same machine."""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import wf

WARM = 10
"""Pairs of steps that are left out."""


class InPairs(wf.Hook):
    """Makes a step by hand after each one of the run, and takes the processor time of both.

    Args:
        model: The one that the steps by hand train; it ends with the weights of the run.
        steps: Makes a step at each `next`.
    """

    def __init__(self, model: nn.Module, steps: Iterator[None]) -> None:
        self.model, self._steps = model, steps
        self.ours: list[float] = []
        self.theirs: list[float] = []

    def on_run_start(self, run: Any) -> None:
        self._begin = time.process_time()

    def on_step_end(self, run: Any) -> None:
        begin = time.process_time()
        next(self._steps)
        end = time.process_time()
        self.ours.append(begin - self._begin)
        self.theirs.append(end - begin)
        self._begin = end

    def report(self, model: nn.Module) -> float:
        """Print the times; returns the median of the pairs' ratios.

        Args:
            model: The run's, whose weights must be those of the steps by hand.
        """
        state = model.state_dict()
        if not all(torch.equal(tensor, state[name]) for name, tensor in self.model.state_dict().items()):
            raise SystemExit("the weights differ")
        ours, theirs = self.ours[WARM:], self.theirs[WARM:]
        for name, times in (("wf", ours), ("by hand", theirs)):
            mean, median = (1000 * of(times) for of in (statistics.fmean, statistics.median))
            print(f"{name:<8} {mean:.2f} ms a step, median {median:.2f} ms")
        pair = statistics.median(map(operator.truediv, ours, theirs))
        print(f"wf / by hand: {sum(ours) / sum(theirs):.3f} of all time, {pair:.3f} the median of the pairs")
        return pair
