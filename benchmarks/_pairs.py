"""Times steps of a run and of a hand-written loop in turn in one process, so that the machine's load affects both."""

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
"""Number of first pairs of steps that are not counted."""


class InPairs(wf.Hook):
    """Makes a step of the hand-written loop after each step of the run, and measures the CPU time of both.

    Args:
        model: The model of the hand-written loop; it must end with the weights of the run.
        steps: Makes a hand-written step at each `next`.
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
        """Print the times; returns the median ratio of the pairs.

        Args:
            model: The run's model; its weights must equal those of the hand-written loop.
        """
        state = model.state_dict()
        if not all(torch.equal(tensor, state[name]) for name, tensor in self.model.state_dict().items()):
            raise SystemExit("the weights differ")
        ours, theirs = self.ours[WARM:], self.theirs[WARM:]
        for name, times in (("wf", ours), ("by hand", theirs)):
            mean, median = (1000 * of(times) for of in (statistics.fmean, statistics.median))
            print(f"{name:<8} {mean:.2f} ms per step, median {median:.2f} ms")
        pair = statistics.median(map(operator.truediv, ours, theirs))
        print(f"wf / by hand: {sum(ours) / sum(theirs):.3f} in total, {pair:.3f} median of the pairs")
        return pair
