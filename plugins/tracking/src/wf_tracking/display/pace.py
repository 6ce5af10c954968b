"""How long the rest of a run takes: training and evaluations are timed separately."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from wf import Epochs, Loop

_OF_TRAINING = 1 / 3
"""A sample is guessed to take this share of its training time in an evaluation, until one was timed."""


class Pace:
    """The pace of a run and the time left, without an event per step.

    Args:
        run: The run, before its first step.
        sizes: The number of samples of each split, if known.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, run: Loop, sizes: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._sizes, self._clock = run, sizes, clock
        self._start = self._mark = clock()
        self._first_step, self._first_sample = run.progress.step, run.progress.samples
        self._evaluating = 0.0
        self._last: dict[str, float] = {}
        """Seconds of the last evaluation of each split."""
        self._swept = (-1, -1)
        """Epoch and step of the last evaluation: an epoch counts as done only after it."""
        self._final: set[str] = set()
        """The splits of the final evaluation that are done."""

    def logged(self) -> None:
        """A record was written: if an evaluation follows, it begins now."""
        self._mark = self._clock()

    def evaluated(self, split: str) -> None:
        """An evaluation has ended."""
        now = self._clock()
        self._last[split] = now - self._mark
        self._evaluating += now - self._mark
        self._mark = now
        self._swept = (self._run.progress.epoch, self._run.progress.step)
        if self._run.finished:
            self._final.add(split)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def training(self) -> float:
        """Seconds of training, saving included."""
        current = self._clock() - self._mark if self.split else 0.0
        return max(self.elapsed - self._evaluating - current, 1e-9)

    @property
    def num_steps(self) -> int:
        """Updates since the start."""
        return self._run.progress.step - self._first_step

    @property
    def num_samples(self) -> int:
        """Samples since the start."""
        return self._run.progress.samples - self._first_sample

    @property
    def split(self) -> str | None:
        """The split that is evaluated now."""
        phase, _, split = self._run.phase.partition(" ")
        return split if phase == "evaluating" else None

    @property
    def fraction(self) -> float | None:
        """How much of that split is done; None where the evaluator does not say."""
        found = getattr(self._run.evaluator, "fraction", None)
        return min(float(found), 1.0) if isinstance(found, (int, float)) else None

    def left(self) -> float | None:
        """Seconds until the end, evaluations included; None if that cannot be known."""
        run, total = self._run, total_steps(self._run)
        if total is None or not self.num_steps:
            return None
        steps = 0 if run.finished else max(total - run.progress.step, 0)
        seconds = steps * self.training / self.num_steps
        if run.evaluator is not None:
            seconds += self._current() + sum(num * self._seconds(split) for split, num in self._ahead(total))
        return seconds

    def _ahead(self, total: int) -> list[tuple[str, int]]:
        """The splits of evaluations that have not started, each with the number of evaluations."""
        run, now = self._run, self.split
        if run.finished:
            known = {
                *self._final,
                *(run.evaluated if run.keep == "last" and self._swept[1] == run.progress.step else ()),
            }
            return [(split, 1) for split in run.final_splits if split != now and split not in known]
        sweeps, splits = self._sweeps(total), list(run.evaluated)
        rest = splits[splits.index(now) + 1 :] if now in splits else []
        finals = [split for split in run.final_splits if split not in splits]
        return [*((split, 1) for split in (*rest, *finals)), *((split, sweeps) for split in splits)]

    def _sweeps(self, total: int) -> int:
        """The number of regular evaluations that have not started."""
        run, every = self._run, self._run.eval_every
        if every is None:
            return 0
        if every.unit == "steps":
            return total // int(every.num) - run.progress.step // int(every.num)
        epochs = run.until.num if isinstance(run.until, Epochs) else total // (run.num_batches or total)
        done = run.progress.epoch + (self.split is not None or self._swept == (run.progress.epoch, run.progress.step))
        return max(epochs // int(every.num) - done // int(every.num), 0)

    def _current(self) -> float:
        """Seconds until the present evaluation ends."""
        split = self.split
        if split is None:
            return 0.0
        so_far, fraction = self._clock() - self._mark, self.fraction
        if fraction:
            return so_far * (1 - fraction) / fraction
        return max(self._seconds(split) - so_far, 0.0)

    def _seconds(self, split: str) -> float:
        """The expected seconds of an evaluation: its last time, else by the times and sizes of others, else a guess."""
        if split in self._last:
            return self._last[split]
        size = self._sizes.get(split, 0)
        timed = {name: seconds for name, seconds in self._last.items() if self._sizes.get(name)}
        if timed:
            return size * sum(timed.values()) / sum(self._sizes[name] for name in timed)
        return size * _OF_TRAINING * self.training / max(self.num_samples, 1)


def total_steps(run: Loop) -> int | None:
    """The updates of the whole run; None if that is not known."""
    if not isinstance(run.until, Epochs):
        return run.until.num
    return None if run.num_batches is None else run.until.num * run.num_batches
