"""Progress on standard error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wf import Epochs, Hook, Loop
from wf.engine.figures import TRAIN, divided, is_number
from wf.errors import UsageError
from wf.protocols import Strategy
from wf.terminal import visible
from wf_tracking._text import duration, figure, fit, rate
from wf_tracking.history import records_of

if TYPE_CHECKING:
    from wf_tracking._live import Live


_MARK = "  best"
"""Appended to the line of an epoch that is the best so far."""


class Progress(Hook):
    """Shows progress on standard error; standard output stays free for results.

    After an epoch and its evaluation it prints a line such as ``epoch 3/10  loss 0.4123  validation loss 0.3980  1.2
    s``. A run of many epochs prints only some of them, evenly spaced, including the first and the last. The best epoch,
    by the run's monitor, is the last one marked ``best``; if its line was skipped, it is printed at the end. On a
    terminal there is also a live line, drawn by a thread that reads the loop's counters; nothing is done per step.

    Args:
        strategy: Only the first process prints.
        interval_sec: Longest time between two lines.
        max_lines: Approximate number of lines per run, besides those due to `interval_sec`.

    Raises:
        UsageError: For a value that is not positive.
    """

    told_last = True

    def __init__(self, strategy: Strategy, interval_sec: float = 30.0, max_lines: int = 20) -> None:
        for name, value in (("interval_sec", interval_sec), ("max_lines", max_lines)):
            if not value > 0:
                raise UsageError(f"progress: {name} is {value:g}; it must be larger than 0")
        self.strategy, self.interval_sec, self.max_lines = strategy, interval_sec, max_lines
        self._shown = False
        self._live: Live | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def on_run_start(self, run: Loop) -> None:
        """Start showing progress."""
        self._shown = self.strategy.rank == 0
        if not self._shown:
            return
        self._loss: float | None = None
        self._figures: dict[str, Mapping[str, Any]] = {}
        self._held: str | None = None
        self._best: float | None = None
        self._best_line: str | None = None
        """The line of the best epoch, if it has not been printed."""
        self._is_best = self._holds_best = False
        self._share = -1
        recorded: dict[str, Any] = {}
        for record in records_of(run):  # before the run was resumed
            if record["event"] == "eval":
                self._look_at(run, record["split"], record, recorded)
            else:
                recorded |= {f"{TRAIN}/{name}": value for name, value in record.items()}
        self._start = self._epoch_start = self._printed = time.monotonic()
        self._start_step = run.progress.step
        self._ended = threading.Event()
        if _is_live_terminal():
            from wf_tracking._live import Live

            self._live = Live(lambda: self.status(run))
        else:
            threading.Thread(target=self._keep_alive, args=(run, self._ended), daemon=True).start()

    def on_epoch_start(self, run: Loop) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = time.monotonic()

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Remember the loss: of the whole epoch if known, else the running one."""
        self._loss = record.get("epoch_loss", record.get("running_loss"))

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Remember the figures; an evaluation within an epoch gets its own line."""
        if not self._shown:
            return
        if split in run.eval_splits:
            self._figures.setdefault(split, metrics)  # the final evaluation comes later and has its own table
        if not run.finished:
            self._is_best = self._look_at(run, split, metrics, run.figures) or self._is_best
        within = run.eval_every is not None and run.eval_every.unit == "steps"
        if within and split == run.eval_splits[-1] and not _is_over(run):
            self._offer(run, _position(run, within=True), _done(run))

    def on_epoch_end(self, run: Loop) -> None:
        """Print the epoch's line, or keep it for later."""
        if self._shown:
            finished = run.progress.epoch + 1 if isinstance(run.until, Epochs) else run.progress.step
            self._offer(run, _position(run), finished / max(run.until.num, 1))

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Restore the terminal."""
        if self._shown:
            self._close()

    def on_run_end(self, run: Loop) -> None:
        """Print where the run ended."""
        if not self._shown:
            return
        if run.progress.batch:  # the run ended within an epoch
            self._held, self._holds_best = self._line(run, _position(run, within=True)), False
        if self._held is not None and self._holds_best:
            self._best_line = None
        self._close()
        if self._best_line is not None:
            self._print(self._best_line)

    def status(self, run: Loop) -> tuple[str, float | None, list[str]]:
        """Current status: the position, the fraction of the epoch or run done, and loss, speed and time left."""
        num_steps = run.progress.step - self._start_step
        elapsed = max(time.monotonic() - self._start, 1e-9)
        parts = [] if self._loss is None else [f"loss {figure(self._loss)}"]
        if num_steps:
            parts.append(rate(num_steps / elapsed))
            left = _total_steps(run)
            if left is not None:
                parts.append(f"{duration(max(left - run.progress.step, 0) * elapsed / num_steps)} left")
        if not isinstance(run.until, Epochs):
            return _position(run), _done(run), parts
        return _position(run), run.progress.batch / run.num_batches if run.num_batches else None, parts

    def _offer(self, run: Loop, position: str, done: float) -> None:
        """Print a line if it is due: after each further 1/max_lines of the run, or after `interval_sec`."""
        is_best, self._is_best = self._is_best, False
        line = self._line(run, position, _MARK if is_best else "")
        self._figures = {}
        share = int(done * self.max_lines + 1e-9)
        if share > self._share or time.monotonic() - self._printed >= self.interval_sec:
            self._share = share
            self._print(line)
            self._best_line = None if is_best else self._best_line
        else:
            self._held, self._holds_best = line, is_best
            self._best_line = line if is_best else self._best_line

    def _look_at(self, run: Loop, split: str, metrics: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
        """Whether an evaluation, or the record of the steps before it, is the best so far by the monitor."""
        watched, name = divided(run.monitor)
        of_steps = watched == TRAIN and watched not in run.evaluated
        value, larger = recorded.get(run.monitor) if of_steps else metrics.get(name), run.larger_is_better
        if split != (run.eval_splits[0] if of_steps else watched) or not is_number(value) or larger is None:
            return False
        if self._best is not None and not (value > self._best if larger else value < self._best):
            return False
        self._best = value
        return True

    def _line(self, run: Loop, position: str, mark: str = "") -> str:
        parts = [position]
        if self._loss is not None:
            parts.append(f"loss {figure(self._loss)}")
        for split, figures in self._figures.items():
            numbers = [f"{name} {figure(value)}" for name, value in figures.items() if isinstance(value, (int, float))]
            parts += [f"{split} {number}" if index == 0 else number for index, number in enumerate(numbers)]
        width = self._live.width if self._live is not None else None
        return fit(parts, f"{duration(time.monotonic() - self._epoch_start)}{mark}", width)

    def _print(self, line: str) -> None:
        line = visible(line, line=True)
        with self._lock:
            self._printed, self._held = time.monotonic(), None
            if self._live is not None:
                self._live.print(line)
            else:
                print(line, file=sys.stderr, flush=True)

    def _keep_alive(self, run: Loop, ended: threading.Event) -> None:
        """Print the position whenever nothing was printed for a while."""
        while not ended.wait(max(self._printed + self.interval_sec - time.monotonic(), 0.01)):
            if time.monotonic() - self._printed >= self.interval_sec:
                self._print("  ".join([_position(run, within=True), *self.status(run)[2]]))

    def _close(self) -> None:
        self._ended.set()
        if self._held is not None:
            self._print(self._held)
        if self._live is not None:
            self._live.stop()
            self._live = None


def _position(run: Loop, *, within: bool = False) -> str:
    """``epoch 3/10`` or ``step 400/5000``; with `within`, also the batch in the epoch."""
    progress, total = run.progress, str(run.until.num)
    if not isinstance(run.until, Epochs):
        return f"step {progress.step:{len(total)}d}/{total}"
    text = f"epoch {min(progress.epoch + 1, run.until.num):{len(total)}d}/{total}"
    of = f"/{run.num_batches}" if run.num_batches is not None else ""
    return f"{text}  batch {progress.batch}{of}" if within else text


def _done(run: Loop) -> float:
    """The fraction of the run that is done."""
    total = _total_steps(run)
    if total is None:
        return run.progress.epoch / max(run.until.num, 1)
    return run.progress.step / max(total, 1)


def _total_steps(run: Loop) -> int | None:
    if not isinstance(run.until, Epochs):
        return run.until.num
    return None if run.num_batches is None else run.until.num * run.num_batches


def _is_over(run: Loop) -> bool:
    """Whether training has ended and this is the final evaluation."""
    done = run.progress.epoch if isinstance(run.until, Epochs) else run.progress.step
    return run.stop_reason is not None or done >= run.until.num


def _is_live_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")
