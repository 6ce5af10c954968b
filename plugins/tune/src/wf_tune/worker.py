"""The process that trains the runs of a trial. This module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wf.engine.events import Hook
from wf.engine.figures import Monitor
from wf.engine.loop import Loop
from wf_compare.results import read_run
from wf_compare.training import Outcome, Setting, alone, train_run
from wf_run.directory.rundir import RunDirectory

PRUNED = "pruned: "
"""Prefix of the ``reason`` of a pruned run."""

Ask = Callable[[Any], Any]
"""Reports ``(step, value)`` to the parent process; returns True if the trial should stop."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The runs of a trial."""

    number: int
    document: Mapping[str, Any]
    """Its run file."""
    place: Path
    """Its folder; the run directory if it has one run."""
    runs: Sequence[tuple[Path, Mapping[str, Any]]]
    """The run directories, each with the run-file changes of that repeat."""
    by: Monitor
    means: bool = True
    """Whether to report the mean of the repeats so far instead of each repeat."""
    prunes: bool = False
    """Whether there is a pruner."""


def train(job: Job, setting: Setting, ask: Ask) -> Outcome:
    """Train a trial; an interrupted trial is resumed."""
    return alone(job.place, setting, lambda: _train(job, setting, ask))


def _train(job: Job, setting: Setting, ask: Ask) -> Outcome:
    values: list[float] = []
    for step, (place, changes) in enumerate(job.runs, 1):
        hooks = [Reporting(job, ask)] if job.prunes and len(job.runs) == 1 else []
        outcome = train_run(partial(_made, {**job.document, **changes}), place, setting, hooks)
        if outcome.status != "done":
            return outcome
        if reason := _pruned(place):
            return Outcome(status="pruned", reason=reason)
        value = read_run(place, "").metrics.get(job.by.figure)
        if len(job.runs) == 1 or not isinstance(value, (int, float)):
            continue
        values.append(value)
        told = sum(values) / len(values) if job.means else value
        if ask((step, told)) and step < len(job.runs):
            return Outcome(status="pruned", reason=f"{PRUNED}after {step} of {len(job.runs)} repeats")
    return Outcome(status="done")


def _made(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[Path]]:
    return document, ()


def _pruned(place: Path) -> str:
    """Why a run was pruned; empty if it was not."""
    reason = str(RunDirectory(place).manifest.get("reason") or "")
    return reason if reason.startswith(PRUNED) else ""


class Reporting(Hook):
    """Reports the figure of each evaluation, and stops the run if the pruner asks for it.

    Args:
        job: The trial.
        ask: Reports a figure; returns whether to stop.
    """

    told_last = True

    def __init__(self, job: Job, ask: Ask) -> None:
        self._job, self._ask = job, ask
        self._read_after = job.by.split

    def on_run_start(self, run: Loop) -> None:
        """Check that the run evaluates the figure during training."""
        self._read_after = run.expect(self._job.by, "--by", "wf tune")

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Report the figure."""
        if split != self._read_after or run.finished:
            return
        figures = {**run.figures, **{f"{split}/{name}": value for name, value in metrics.items()}}
        step = 1 + self._recorded(run, split)
        if self._ask((step, self._job.by.value(figures, "wf tune", "--by"))):
            run.stop(f"{PRUNED}after evaluation {step}")

    def _recorded(self, run: Loop, split: str) -> int:
        """The number of earlier evaluations in the records of the run."""
        records: list[dict[str, Any]] = next(
            (hook.records for hook in run.hooks if getattr(hook, "keeps_records", False)), []
        )
        return sum(record["event"] == "eval" and record["split"] == split for record in records)
