"""Progress on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from wf import Epochs, FromRun, Hook, Loop
from wf.engine.figures import LOSS, TRAIN, divided, is_number
from wf.errors import UsageError
from wf.protocols import Strategy
from wf.terminal import duration, is_live, visible
from wf_tracking.display.notebook import Notebook, kernel, page
from wf_tracking.display.pace import Pace, total_steps
from wf_tracking.display.table import Column, Table
from wf_tracking.display.text import figure, rate
from wf_tracking.drawing.history import records_of

if TYPE_CHECKING:
    from wf_tracking.display.live import Live


_MARK = " *"
"""Appended to the line of an epoch that is the best so far."""


class Progress(Hook):
    """Shows progress on standard error; standard output stays free for results.

    After an epoch and its evaluation it prints a row of a table on a terminal, and elsewhere a line that explains
    itself, such as ``epoch 3/10  loss 0.4123  validation loss 0.3980  1.2 s``. A run of many epochs prints only some of
    them, evenly spaced, including the first and the last. ``*`` marks an epoch that was the best so far by the run's
    monitor; the last one marked is the best of all, and if its line was skipped, it is printed at the end. A last line
    has the time, the speed of training and the number of parameters. On a terminal there is also a live line, drawn by
    a thread that reads the loop's counters: what the run is at, how much of that is done, and the time left,
    evaluations included; nothing is done per step. In a notebook a table and the curve of the loss are redrawn in place
    instead.

    Args:
        strategy: Only the first process prints.
        data: The sizes of the splits, to estimate how long evaluations will take.
        interval_sec: Longest time between two lines.
        max_lines: Approximate number of lines per run, besides those due to `interval_sec`.

    Raises:
        UsageError: For a value that is not positive.
    """

    told_last = True

    def __init__(
        self,
        strategy: Strategy,
        data: Annotated[Any, FromRun("data")] = None,
        interval_sec: float = 30.0,
        max_lines: int = 20,
    ) -> None:
        for name, value in (("interval_sec", interval_sec), ("max_lines", max_lines)):
            if not value > 0:
                raise UsageError(f"progress: {name} is {value:g}; it must be larger than 0")
        self.strategy, self.data, self.interval_sec, self.max_lines = strategy, data, interval_sec, max_lines
        self._shown = False
        self._live: Live | None = None
        self._notebook: Notebook | None = None
        self._rows: list[Row] = []
        """The rows that were shown."""
        self._run: Loop | None = None
        self._summary = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def on_run_start(self, run: Loop) -> None:
        """Start showing progress."""
        self._shown = self.strategy.rank == 0
        if not self._shown:
            return
        self._loss: float | None = None
        self._figures: dict[str, Mapping[str, Any]] = {}
        self._held: Row | None = None
        """The last row, if it has not been printed."""
        self._best: float | None = None
        self._best_row: Row | None = None
        """The row of the best epoch, if it has not been printed."""
        self._is_best = False
        self._share = -1
        recorded: dict[str, Any] = {}
        for record in records_of(run):  # before the run was resumed
            if record["event"] == "eval":
                self._look_at(run, record["split"], record, recorded)
            else:
                recorded |= {f"{TRAIN}/{name}": value for name, value in record.items()}
        self._epoch_start = self._printed = time.monotonic()
        self._pace = Pace(run, {name: self.data.num_samples(name) for name in self.data.splits} if self.data else {})
        self._first_epoch = run.progress.epoch
        self._ended = threading.Event()
        self._rows, self._run, self._summary = [], run, ""
        if kernel() is not None:
            self._notebook = Notebook()
        elif is_live(sys.stderr):
            from wf_tracking.display.live import Live

            self._live = Live(lambda: self.status(run))
            self._table = Table(self._live.width)
        else:
            threading.Thread(target=self._keep_alive, args=(run, self._ended), daemon=True).start()

    def on_epoch_start(self, run: Loop) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = time.monotonic()

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Remember the loss: of the whole epoch if known, else the running one."""
        self._loss = record.get("epoch_loss", record.get("running_loss"))
        if self._shown:
            self._pace.logged()
            self._draw()

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Remember the figures; an evaluation within an epoch gets its own line."""
        if not self._shown:
            return
        self._pace.evaluated(split)
        if split in run.eval_splits:
            self._figures.setdefault(split, metrics)  # the final evaluation comes later and has its own table
        if not run.finished:
            self._is_best = self._look_at(run, split, metrics, run.figures) or self._is_best
        within = run.eval_every is not None and run.eval_every.unit == "steps"
        if within and split == run.eval_splits[-1] and not _is_over(run):
            self._offer(run, _done(run), within=True)

    def on_epoch_end(self, run: Loop) -> None:
        """Print the epoch's line, or keep it for later."""
        if self._shown:
            finished = run.progress.epoch + 1 if isinstance(run.until, Epochs) else run.progress.step
            self._offer(run, finished / max(run.until.num, 1))

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Restore the terminal."""
        if self._shown:
            self._close()

    def on_run_end(self, run: Loop) -> None:
        """Print where the run ended, and the totals."""
        if not self._shown:
            return
        if run.progress.batch:  # the run ended within an epoch
            self._held = self._row(run, within=True)
        if self._held is not None and self._held.best:
            self._best_row = None
        best = self._best_row
        self._ended.set()
        for row in (self._held, best):
            if row is not None:
                self._show(row)
        totals = self._totals(run) if self._pace.num_steps else []
        self._summary = ", ".join(totals)
        for line in totals:
            self._print(line)
        self._close()

    def status(self, run: Loop) -> tuple[str, float | None, list[str]]:
        """Current status: the position or what else it is at, the fraction done, and loss, speed and time left."""
        pace = self._pace
        parts = [] if self._loss is None else [f"loss {figure(self._loss)}"]
        if pace.num_steps:
            parts.append(rate(pace.num_steps / pace.training))
            if (left := pace.left()) is not None:
                parts.append(f"{duration(left)} left")
        if pace.split is not None:
            return run.phase, pace.fraction, parts[-1:]
        if run.phase == "saving":
            return run.phase, None, parts[-1:]
        if not isinstance(run.until, Epochs):
            return _position(run), _done(run), parts
        return _position(run), run.progress.batch / run.num_batches if run.num_batches else None, parts

    def _offer(self, run: Loop, done: float, *, within: bool = False) -> None:
        """Print a line if it is due: after each further 1/max_lines of the run, or after `interval_sec`."""
        is_best, self._is_best = self._is_best, False
        row = self._row(run, within=within, best=is_best)
        self._figures = {}
        share = int(done * self.max_lines + 1e-9)
        if share > self._share or time.monotonic() - self._printed >= self.interval_sec:
            self._share = share
            self._show(row)
            self._best_row = None if is_best else self._best_row
        else:
            self._held = row
            self._best_row = row if is_best else self._best_row

    def _totals(self, run: Loop) -> list[str]:
        """``25 epochs in 4.2 s, 64,012 samples/s, 9,610 parameters, * best by validation/loss``; two lines if long."""
        pace, progress = self._pace, run.progress
        epochs = progress.epoch - self._first_epoch
        of = f"{epochs:,} epoch" if isinstance(run.until, Epochs) and epochs else f"{pace.num_steps:,} step"
        parts = [f"{of}{'' if of.startswith('1 ') else 's'} in {duration(pace.elapsed)}"]
        parts.append(f"{pace.num_samples / pace.training:,.0f} samples/s")
        if model := getattr(run.parts.get("model"), "parameters", None):
            parts.append(f"{sum(weight.numel() for weight in model()):,} parameters")
        line = ", ".join(parts)
        if self._best is None:
            return [line]
        legend = f"* best by {run.monitor}"
        fits = self._live is None or len(line) + len(legend) + 2 <= self._live.width
        return [f"{line}, {legend}"] if fits else [line, legend]

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

    def _row(self, run: Loop, *, within: bool = False, best: bool = False) -> Row:
        """The current values."""
        losses = {} if self._loss is None else {(TRAIN, LOSS): self._loss}
        figures = {
            (split, name): value
            for split, found in self._figures.items()
            for name, value in found.items()
            if isinstance(value, (int, float))
        }
        seconds = time.monotonic() - self._epoch_start
        return Row(places=_places(run, within=within), figures={**losses, **figures}, seconds=seconds, best=best)

    def _show(self, row: Row) -> None:
        """Print a row: below a heading on a terminal, with the names in it elsewhere."""
        self._held = None
        self._rows.append(row)
        if self._notebook is not None:
            self._draw()
            return
        if self._live is None:
            self._print(row.line())
            return
        for line in self._table.heading(row.places, row.figures):
            self._print(line, "dim")
        text = self._table.row(row.places, row.figures, duration(row.seconds))
        self._print(text + (_MARK if row.best else ""), "bold" if row.best else "")

    def _repr_html_(self) -> str:
        """The epochs and the curve of the loss, for notebooks."""
        if self._run is None:
            return ""
        return page(self._summary or _position(self._run), self._rows, records_of(self._run))

    def _draw(self, *, at_once: bool = False) -> None:
        if self._notebook is not None and (at_once or self._notebook.due()):
            self._notebook.draw(self._repr_html_)

    def _print(self, line: str, style: str = "") -> None:
        if self._notebook is not None:
            return
        line = visible(line, line=True)
        with self._lock:
            self._printed = time.monotonic()
            if self._live is not None:
                self._live.print(line, style)
            else:
                print(line, file=sys.stderr, flush=True)

    def _keep_alive(self, run: Loop, ended: threading.Event) -> None:
        """Print the position whenever nothing was printed for a while."""
        while not ended.wait(max(self._printed + self.interval_sec - time.monotonic(), 0.01)):
            if time.monotonic() - self._printed >= self.interval_sec:
                self._print("  ".join(self._alive(run)))

    def _alive(self, run: Loop) -> list[str]:
        """``epoch 1/3``, ``batch 200/938``, ``evaluating test 38 %``, and the loss, the speed and the time left."""
        position, fraction, parts = self.status(run)
        places = [" ".join(place) for place in _places(run, within=True)]
        if run.phase in ("", "training"):
            return [*places, *parts]
        return [*places, position if fraction is None else f"{position} {fraction:.0%}".replace("%", " %"), *parts]

    def _close(self) -> None:
        self._ended.set()
        if self._held is not None:
            self._show(self._held)
        self._draw(at_once=True)
        self._notebook = None
        if self._live is not None:
            self._live.stop()
            self._live = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """An epoch, or an evaluation within one."""

    places: Sequence[tuple[str, str]]
    """Where in the run: ``[("epoch", "3/10")]``."""
    figures: Mapping[Column, Any]
    seconds: float
    best: bool = False

    def line(self) -> str:
        """``epoch 3/10  loss 0.4123  validation loss 0.3980  accuracy 0.8712  1.2 s *``."""
        parts, before = [" ".join(place) for place in self.places], TRAIN
        for (split, name), value in self.figures.items():
            number = f"{name} {figure(value)}"
            parts.append(number if split == before else f"{split} {number}")
            before = split
        return "  ".join([*parts, duration(self.seconds)]) + (_MARK if self.best else "")


def _places(run: Loop, *, within: bool = False) -> list[tuple[str, str]]:
    """The epoch or the step; with `within`, also the batch in the epoch."""
    progress, total = run.progress, str(run.until.num)
    if not isinstance(run.until, Epochs):
        return [("step", f"{progress.step:{len(total)}d}/{total}")]
    places = [("epoch", f"{min(progress.epoch + 1, run.until.num):{len(total)}d}/{total}")]
    of = f"/{run.num_batches}" if run.num_batches is not None else ""
    return [*places, ("batch", f"{progress.batch}{of}")] if within else places


def _position(run: Loop) -> str:
    """``epoch 3/10`` or ``step 400/5000``."""
    return " ".join(_places(run)[0])


def _done(run: Loop) -> float:
    """The fraction of the run that is done."""
    total = total_steps(run)
    if total is None:
        return run.progress.epoch / max(run.until.num, 1)
    return run.progress.step / max(total, 1)


def _is_over(run: Loop) -> bool:
    """Whether training has ended and this is the final evaluation."""
    done = run.progress.epoch if isinstance(run.until, Epochs) else run.progress.step
    return run.stop_reason is not None or done >= run.until.num
