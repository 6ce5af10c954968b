"""The training throughput of a run, in the units of its task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from wf import Hook, Loop
from wf_base import TaskRuntime


class Throughput(Hook):
    """Measures the training throughput in tokens per second, or in another unit of the task.

    Evaluations and checkpoints do not count. Each line of ``timings.jsonl`` has the rate since the line before, as
    ``tokens_per_sec``, and the run prints the rate of the whole training at its end. The rate is not a figure of the
    run, because a repeated run must have equal figures.

    Args:
        outputs: The task, which defines the unit; samples by default.
    """

    def __init__(self, outputs: TaskRuntime) -> None:
        self._task, self.unit = outputs, outputs.unit or "samples"
        self.timings: dict[str, float] = {}
        """Additional entries of the next line of ``timings.jsonl``."""
        self._own = self._own_samples = self._samples = 0
        self._counted, self._seconds, self._begin = 0.0, 0.0, 0.0

    def on_run_start(self, run: Loop) -> None:
        """Start to count."""
        self._begin_anew(run)

    def on_step_end(self, run: Loop) -> None:
        """Count a batch; a tensor stays on its device."""
        for part in run.batch.parts or (run.batch,):
            self._own += part.size if self._task.unit is None else self._task.units(part.inputs, part.targets)
        self._own_samples += run.batch.size

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Compute the rate since the last record; the host has just waited for the device."""
        seconds = time.perf_counter() - self._begin
        if self._own_samples and seconds > 0:  # each process counts only its own units, but knows the samples of all
            counted = int(self._own) * (run.progress.samples - self._samples) / self._own_samples
            self._counted, self._seconds = self._counted + counted, self._seconds + seconds
            self.timings = {f"{self.unit}_per_sec": round(counted / seconds, 1)}
        self._begin_anew(run)

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Restart the clock after it."""
        self.timings = {}
        self._begin_anew(run)

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """Restart the clock after it."""
        self._begin_anew(run)

    def on_run_end(self, run: Loop) -> None:
        """Print the rate of the whole training."""
        if self._seconds:
            run.notes["throughput"] = f"{self._counted / self._seconds:,.0f} {self.unit}/s"

    def _begin_anew(self, run: Loop) -> None:
        self._own = self._own_samples = 0
        self._samples, self._begin = run.progress.samples, time.perf_counter()
