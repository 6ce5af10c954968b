"""The loop: epochs, steps, position and cadence. It knows nothing of torch, losses or files."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from wf.blame import FAILURES
from wf.engine.cadence import Epochs, Every, Progress, Steps, check_cadences, check_epoch, is_due, next_pause
from wf.engine.feed import Batches, Losses, read_each
from wf.engine.figures import LOSS, OF_STEPS, TRAIN, Figures, Monitor
from wf.engine.leaving import EvaluationLeft, Leaving, Rounds
from wf.engine.participants import Participants
from wf.engine.saving import NOWHERE, Place, Saving
from wf.engine.watching import Watching
from wf.engine.weights import Weights
from wf.errors import DataError, GoBack, SaveError, UsageError, unknown
from wf.protocols import Checkpointer, Evaluator, Modes, Stateful, TrainData, Trainer

_LOG = logging.getLogger("wf")
_BY_ANOTHER = "stopped by another process"


class Loop:
    """The training loop.

    ::

        for epoch in epochs:
            for batch in data.epoch(epoch):
                loss = trainer.train_step(batch)
                now and then: log, evaluate, save
            log, evaluate, save
        save; log; evaluate every split once with the weights that the run keeps

    If a hook raises `wf.errors.GoBack`, the loop returns to the newest checkpoint.

    Args:
        trainer: Makes one update from one batch.
        evaluator: Judges a split; None evaluates nothing.
        checkpointer: Saves and loads; None saves nothing.
        hooks: Objects that listen to the events of `wf.engine.events.Hook`.
        log_every: Batches between two log records, the first batch of an epoch included.
        eval_every: When `eval_splits` are evaluated, in epochs or steps.
        eval_splits: The splits that are evaluated at that cadence.
        final_splits: The splits that are evaluated once at the end.
        checkpoint_every: When a checkpoint is saved; None: only at the end and before a stop.
        keep: ``last`` or ``best``: the weights that the final evaluation uses and the run keeps. The best weights are
            read from their checkpoint, so without a checkpointer the last ones are kept.
        monitor: The figure that selects the best weights, such as ``validation/loss``, ``validation/accuracy:max``.
        larger_is_better: The direction of `monitor`, unless it is the loss or includes its direction.
        parts: Parts that are saved besides the position: model, optimizer, ... by name.
        agree: Turns the decisions of several processes into one; see `Strategy.agree`.
        name_of: Returns the name of a part for error notes.
        hook_failed: Called as ``hook_failed(run, part, event, error)`` for an error that is not one of `wf.errors`;
            returns True if the run should continue without that part's listeners.
        watches: Whether a hook only observes, so that `hook_failed` is called for its errors of `wf.errors` as well.
        save_failed: Called as ``save_failed(run, error)`` for a checkpoint that could not be written; returns True if
            the run should continue and try again when the next one is due.
        modes: Swaps in the weights for evaluation and checkpoints, if they differ from the trained ones.
        of_first: Returns the figures of the first of several processes, on each of them.
        reading: The names of the `parts` that reading samples changes, to put them back when an evaluation is left.

    Raises:
        UsageError: For an invalid cadence or choice.
    """

    def __init__(
        self,
        trainer: Trainer,
        evaluator: Evaluator | None = None,
        checkpointer: Checkpointer | None = None,
        hooks: Sequence[Any] = (),
        *,
        log_every: int = 100,
        eval_every: Every | None = Every(1),  # noqa: B008 - frozen
        eval_splits: Sequence[str] = ("validation",),
        final_splits: Sequence[str] = (),
        checkpoint_every: Every | None = None,
        keep: str = "last",
        monitor: str = "validation/loss",
        larger_is_better: bool | None = None,
        parts: Mapping[str, Stateful] | None = None,
        agree: Callable[[bool], bool] = bool,
        name_of: Callable[[Any], str] = lambda part: type(part).__name__,
        hook_failed: Callable[[Loop, Any, str, BaseException], bool] = lambda *_: False,
        watches: Callable[[Any], bool] = lambda _: False,
        save_failed: Callable[[Loop, SaveError], bool] = lambda *_: False,
        modes: Modes | None = None,
        of_first: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        reading: Collection[str] = (),
    ) -> None:
        check_cadences(log_every, eval_every)
        if keep not in ("last", "best"):
            raise UsageError(unknown("value of 'keep':", keep, ["last", "best"]))
        self.trainer, self.evaluator, self.checkpointer = trainer, evaluator, checkpointer
        self.hooks = tuple(hooks)
        self.log_every, self.eval_every, self.checkpoint_every = log_every, eval_every, checkpoint_every
        self.eval_splits, self.final_splits = tuple(eval_splits), tuple(final_splits)
        self.keep, self._monitor = keep, Monitor.read(monitor)
        self.monitor, said = self._monitor.figure, self._monitor.larger_is_better
        self.larger_is_better = said if larger_is_better is None else larger_is_better
        self.parts, self.agree = dict(parts or {}), agree
        self._participants = Participants(self, name_of, hook_failed, watches)
        self._tell = self._participants.tell
        self._weights = Weights(modes)
        self._rounds = Rounds(lambda flag: self.agree(flag))
        self._leaving = Leaving(self._is_interrupted, self.agree, [self.parts[name] for name in reading])
        self._of_first, self._watching = of_first, Watching(self, name_of)
        self.progress = Progress()
        self.metrics: dict[str, Any] = {}
        """The last figures of each split that was evaluated, as ``validation/loss``, and the terms of the loss."""
        self.recorded: dict[str, Any] = {}
        """The last figures of the steps that trainer and hooks recorded besides the loss, such as ``train/lr``."""
        self.saved_step: int | None = None
        """The step of the newest checkpoint that is durable."""
        self.finished = False
        """True from the final evaluation on, which no longer affects the run."""
        self.phase = ""
        """Its activity: ``training``, ``evaluating SPLIT`` or ``saving``; empty before and after the run."""
        self.notes: dict[str, str] = {}
        """Remarks of hooks about the run; the command line prints them at the end."""
        self.rollbacks: list[dict[str, Any]] = []
        """A record of each time that the run went back to a checkpoint: ``from_step``, ``to_step`` and why."""
        self.bad_step: int | None = None
        """The first step of the last record whose loss is not finite; None if all are."""
        self.best: float | None = None
        self.batch: Any = None
        self._step_made: Any = None
        self.until: Epochs | Steps = Epochs(0)
        self.num_batches: int | None = None
        self.stop_reason: str | None = None
        self.ended: str | None = None
        """Why the run ended, if a part ended it; resuming restores it."""
        self.interrupted = False
        """Whether it ended by `interrupt` before all was evaluated; known from `on_run_end` on."""
        self._stop_requested: str | None = None
        self._end_requested: str | None = None
        self._resumable: str | None = None
        self._hurries = False
        self._pause_at = 0
        self._pending: list[Any] = []
        self._sizes: list[int] = []
        self._losses = Losses()
        self._saving = Saving(self, self._tell, save_failed, self._pause_soon)
        self._evaluated_at: dict[str, int] = {}

    def run(self, data: TrainData | Iterable[Any], until: Epochs | Steps) -> Loop:
        """Train on `data` until `until`, from the position `progress`.

        Args:
            data: Serves an epoch's batches; or a plain iterable of ``(inputs, targets)`` or of batches.
            until: ``Epochs(10)`` or ``Steps(5000)``, counted from the beginning of the run.

        Returns:
            Itself: its ``metrics`` hold the last figures of each split.

        Raises:
            DataError: When an epoch has no batches.
            UsageError: For a hook or a length that cannot work.
        """
        if not isinstance(until, (Epochs, Steps)):
            raise UsageError(f"until is {until!r}; say Epochs(10) or Steps(5000)")
        source: TrainData = data if isinstance(data, TrainData) else Batches(data)
        self.until, self.num_batches = until, source.num_batches
        self.stop_reason, self.interrupted = self.ended, False
        self._saving.start_clock()
        self._participants.bind()
        self._begin_to_train()
        try:
            self._watching.begin()
            if self.keep == "best" and self.evaluated:
                self.expect(self._monitor, "monitor", "keep best")
            self._tell("on_run_start", self)
            while not self.finished:
                try:
                    with suppress(EvaluationLeft):
                        self._train(source)
                    self._finish()
                except GoBack as request:
                    self._go_back(request)
        except BaseException as error:
            self._saving.wait_after(error)
            self._participants.tell_of(error)
            raise
        finally:
            self._stop_requested = self._end_requested = self._resumable = self.ended = None
            self.phase, self._hurries = "", False
        return self

    def _train(self, source: TrainData) -> None:
        self.phase = "training"
        progress, train_step, alone = self.progress, self.trainer.train_step, self.agree is bool
        step_end = self._participants.listening["on_step_end"]
        while not self._done() or self._is_behind():
            self._tell("on_epoch_start", self)
            self._pause_at = progress.step + 1
            self._rounds.begin(progress.step)
            if self._leaving.owes("steps") and self._pause():
                break
            for batch in () if self._leaving.owes("epochs") else source.epoch(progress.epoch, progress.batch):
                self.batch, self._step_made = batch, train_step(batch)
                self._pending.append(self._step_made)
                size = batch.size if alone else (getattr(batch, "whole_size", 0) or batch.size)
                self._sizes.append(size)
                progress.step += 1
                progress.batch += 1
                progress.samples += size
                for listen in step_end:
                    try:
                        listen(self)
                    except FAILURES as error:
                        if not self._participants.goes_on(listen, "on_step_end", error):
                            raise
                if progress.step >= self._pause_at and self._pause():
                    break
            else:
                self._end_epoch()

    @property
    def loss(self) -> Any:
        """The loss of the last step, on its device: reading it as a number makes the host wait."""
        made = self._step_made
        return made[LOSS] if isinstance(made, dict) else made

    def stop(self, reason: str, *, for_good: bool = True) -> None:
        """Ask the run to end after the present step; a checkpoint is saved and the end is as usual.

        If called before `run`, the run ends before the first step.

        Several processes all end after the same step, within about two seconds.

        Args:
            reason: The reason, for messages.
            for_good: Whether the run is complete, which is recorded in its checkpoint; False if a resumed run should
                train on.
        """
        self._stop_requested = reason
        if for_good:
            self._end_requested = reason
        else:
            self._resumable = reason
        if self.agree is bool:  # several processes must all pause at the same step
            self._pause_at = 0

    def interrupt(self, reason: str) -> None:
        """As ``stop(reason, for_good=False)`` and soon, as after a signal: the resumed run evaluates instead.

        An evaluation under way is left before its next batch if the evaluator can be left, see
        `wf.protocols.Evaluator`, and `final_splits` are not evaluated. A checkpoint is saved, and a run resumed from it
        first makes the evaluation that was left.

        Args:
            reason: The reason, for messages.
        """
        self._hurries = True
        self.stop(reason, for_good=False)

    @property
    def figures(self) -> dict[str, Any]:
        """The latest value of every figure: `recorded` and `metrics`."""
        return {**self.recorded, **self.metrics}

    def expect(self, monitor: Monitor, option: str, owner: str) -> str:
        """Check before the first step that a monitored figure will exist, as far as that can be known.

        A part that decides by a figure calls this in `on_run_start`. If only an evaluation can tell, two batches are
        evaluated. An undeclared figure of the steps must be in the first record.

        Args:
            monitor: The figure.
            option: The option that chooses another one, such as ``--monitor``.
            owner: The part that decides by it, for messages.

        Returns:
            The split after whose evaluation `figures` has its new value.

        Raises:
            UsageError: If it cannot exist, or is not one number.
        """
        return self._watching.expect(monitor, option, owner)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits that are evaluated while the run trains."""
        return self.eval_splits if self.evaluator is not None and self.eval_every is not None else ()

    def log(self, *, end_of_epoch: bool = False) -> None:
        """Read the losses since the last record and tell the listeners: a sync point."""
        self._read()
        self.bad_step = self._losses.first_bad(self.progress.step)
        record = self._losses.record(end_of_epoch=end_of_epoch)
        if record:
            figures = Figures(record, TRAIN, "the trainer", self._watching.taken)
            self._participants.tell_figures("on_log", (self,), figures, self._know_steps)

    def _know_steps(self, figures: Figures) -> None:
        """Store the figures of a record, and check that monitored ones exist."""
        names = [name for name in figures.values if name not in OF_STEPS]
        self._share(figures, names)
        for name in names:
            known = self.metrics if name.startswith(f"{LOSS}/") else self.recorded
            known[f"{TRAIN}/{name}"] = figures.values[name]
        self._watching.check(names)

    def evaluate(self, splits: Sequence[str]) -> None:
        """Evaluate `splits` now and tell the listeners: a sync point."""
        if self.evaluator is not None:
            self._evaluate_each(splits, self.evaluator.evaluate)

    def _evaluate_each(self, splits: Sequence[str], evaluate: Callable[[str], Mapping[str, Any]]) -> None:
        before = self.phase
        with self._weights.judged():
            for split in splits:
                self.phase = f"evaluating {split}"
                try:
                    figures = Figures(evaluate(split), split, "the evaluator")
                except EvaluationLeft:
                    self.phase = before
                    raise
                self.phase = before
                self._evaluated_at[split] = self.progress.step
                self._know(figures)
                self._participants.tell_figures("on_evaluation_end", (self, split), figures, self._know_added)

    def _know(self, figures: Figures) -> None:
        self.metrics.update({f"{figures.split}/{name}": value for name, value in figures.values.items()})

    def _know_added(self, figures: Figures) -> None:
        """Keep the figures that hooks added to an evaluation."""
        self._share(figures, figures.added)
        self._know(figures)

    def _share(self, figures: Figures, names: Sequence[str]) -> None:
        """Replace figures that differ between processes by those of the first process."""
        if self.agree is not bool:
            figures.replace(names, self._of_first({name: figures.values[name] for name in names}))

    def save(self) -> None:
        """Begin a checkpoint of the present state, unless this step already has one.

        A checkpointer may write it while training goes on, but only one at a time: the loop first waits for the
        previous one.

        Raises:
            SaveError: If this one or the previous one cannot be written and the run should not continue without it.
        """
        if self.checkpointer is None:
            return
        self._decide_end()
        if self._saving.at == self._place():
            return
        self.wait_for_checkpoint()
        self._read()
        if self.agree(not self._losses.finite):
            self.log()  # hooks see a loss that is not finite before the commit
        self._saving.begin(self._place(), self._save)

    def _save(self) -> str | Future[str]:
        assert self.checkpointer is not None
        with self._weights.judged():
            return self.checkpointer.save(self._agreed_state(), asdict(self.progress), self.figures)

    def wait_for_checkpoint(self) -> None:
        """Wait until no checkpoint is being written, and tell the listeners.

        Raises:
            SaveError: If it could not be written and the run should not continue without it.
        """
        self._saving.wait()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values: a sync point."""
        self._read()
        return {
            "progress": asdict(self.progress),
            "metrics": dict(self.metrics),
            "recorded": dict(self.recorded),
            "evaluated_at": dict(self._evaluated_at),
            "owed": self._leaving.owed,
            "best": self.best,
            "ended": self.ended,
            "rollbacks": list(self.rollbacks),
            "losses": self._losses.state(),
            "parts": self._participants.states(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, partial: bool = False) -> None:
        """Restore the result of `state_dict`, to continue training from there; a run with `ended` set must not.

        Args:
            state: From a checkpoint of a run with the same parts.
            partial: Allow parts that are only in the run or only in the state (another set of hooks, say).

        Raises:
            UsageError: When the parts are not the same.
        """
        if not partial:
            self._participants.check_names(state["parts"])
        self.progress = Progress(**state["progress"])
        self._participants.load_states(state["parts"])
        self.metrics, self.best = dict(state["metrics"]), state["best"]
        self._pending, self._sizes, self._losses = [], [], Losses(**state["losses"])
        self._evaluated_at = dict(state.get("evaluated_at", {}))  # checkpoints of older versions do not have it
        self.rollbacks, self.recorded = list(state.get("rollbacks", [])), dict(state.get("recorded", {}))  # nor these
        self._leaving.owed = state.get("owed")
        epoch, step, _, num_owed = self._place()
        self._saving.at = epoch, step, state.get("ended"), num_owed
        self.saved_step = self.progress.step

    def _go_back(self, request: GoBack) -> None:
        """Go back to the newest checkpoint; without one the run ends with the request as its error."""
        with suppress(GoBack):  # raised by listeners that are told of the checkpoint
            self.wait_for_checkpoint()
        step, before = self.progress.step, self.rollbacks
        try:
            if self.checkpointer is None:
                raise DataError("this run saves none")
            state = self.checkpointer.load("latest")
        except DataError as why:
            reason = str(why).partition("\n")[0]
            request.add_note(f"there is no checkpoint to go back to: {reason}\n  --checkpoint-every saves more often")
            raise request from None
        self.load_state_dict(state)
        self.stop_reason = self.ended = self._end_requested = None  # decisions taken after the checkpoint
        self._stop_requested = self._resumable
        self._begin_to_train()
        figures = request.then(len(before) + 1 - len(self.rollbacks))
        self.rollbacks = [*before, {"from_step": step, "to_step": self.progress.step, **figures}]
        self._saving.at = NOWHERE  # the state has changed

    def _begin_to_train(self) -> None:
        self.finished = False
        self._weights.to_train()

    def _agreed_state(self) -> dict[str, Any]:
        """The state; if one of several processes cannot save its state, all of them raise."""
        state, failure = {}, None
        try:
            state = self.state_dict()
        except SaveError as error:
            failure = error
        if self.agree(failure is not None):
            raise failure or SaveError("another process could not save the state; its own message says why")
        return state

    def stateful(self) -> dict[str, Stateful]:
        """The contents of a checkpoint besides the position, by name."""
        return self._participants.stateful()

    def part_name(self, name: str) -> str:
        """The display name of a part in a checkpoint."""
        return self._participants.name_of(self.stateful()[name])

    def _read(self) -> None:
        """Read the losses that are still on their device: the host waits here."""
        if self._pending:
            losses = getattr(self.trainer, "read", read_each)(self._pending)
            self._losses.add(losses, self._sizes)
            self._pending, self._sizes = [], []

    def _is_behind(self) -> bool:
        """Whether the end of a complete epoch, or an evaluation, is still to be made although the run is to end."""
        return 0 < self.progress.batch == self.num_batches or self._leaving.num_owed > 0

    def _done(self) -> bool:
        return self._stopping() or self.until.reached(self.progress)

    def _stopping(self) -> bool:
        """Whether the run should end, decided by all processes together: each must ask at the same steps."""
        if self.stop_reason is None and self.agree(self._stop_requested is not None):
            self.stop_reason = self._stop_requested or _BY_ANOTHER
        return self.stop_reason is not None

    def _decide_end(self) -> None:
        """Before saving, note whether a part has ended the run."""
        if self._stopping() and self.ended is None and self.agree(self._end_requested is not None):
            self.ended = self._end_requested or _BY_ANOTHER

    def _is_interrupted(self) -> bool:
        """Whether the run should end without evaluating further, decided as `_stopping`."""
        if not self.interrupted and self.agree(self._hurries):
            self.interrupted = True
            self._stopping()
        return self.interrupted

    def _place(self) -> Place:
        """The identity of a checkpoint."""
        return self.progress.epoch, self.progress.step, self.ended, self._leaving.num_owed

    def _pause(self) -> bool:
        """Log, evaluate and save if due after this step; True if the epoch must end. `_end_epoch` follows its last."""
        progress = self.progress
        if self._saving.is_writing and self.agree(self._saving.is_written):
            self.wait_for_checkpoint()
        last = progress.batch == self.num_batches
        if (progress.batch - 1) % self.log_every == 0 and not last:
            self.log()
        if self._leaving.owed or is_due(self.eval_every, progress.step, "steps"):
            self.log()
            if self._evaluate("steps"):
                self.save()
        if not last and (self._stopping() or (isinstance(self.until, Steps) and self.until.reached(progress))):
            return True
        if not last and (
            is_due(self.checkpoint_every, progress.step, "steps") or self._saving.is_time(self.checkpoint_every)
        ):
            self.save()
        self._pause_from(next_pause(progress, self.log_every, (self.eval_every, self.checkpoint_every), self.until))
        return False

    def _pause_from(self, step: int) -> None:
        """Pause after `step`, or after the next step if a stop or a finished checkpoint is already waiting.

        Several processes pause earlier if steps take long, to ask each other whether to stop.
        """
        if self.agree is not bool and step > self.progress.step + 1:
            step = min(step, self._rounds.next(self.progress.step))
        self._pause_at = step
        waits = self._stop_requested is not None or self._saving.is_written
        if waits and self.agree is bool:  # checked after the step is set: whatever arrives later resets it
            self._pause_at = 0

    def _pause_soon(self) -> None:
        self._pause_at = 0

    def _end_epoch(self) -> None:
        progress, cadence = self.progress, self.checkpoint_every
        if progress.batch == 0 or progress.batch != self.num_batches:
            check_epoch(progress, self.num_batches)
        self.log(end_of_epoch=True)
        judged = bool(self._leaving.owed) or is_due(self.eval_every, progress.epoch + 1, "epochs")
        improved = judged and self._evaluate("epochs")
        self._tell("on_epoch_end", self)
        progress.epoch += 1
        progress.batch = 0
        due = is_due(cadence, progress.epoch, "epochs") or is_due(cadence, progress.step, "steps")
        if improved or due or self._saving.is_time(self.checkpoint_every):
            self.save()

    def _evaluate(self, unit: str) -> bool:
        """Evaluate at the cadence, of this unit; True if the result is the best so far and must be saved.

        Raises:
            EvaluationLeft: If the run should end; the resumed run then begins with the rest.
        """
        splits = self._leaving.take(self.eval_splits)
        if self.evaluator is not None:
            evaluate = functools.partial(self._leaving.evaluate, self.evaluator, unit=unit, splits=splits)
            self._evaluate_each(splits, evaluate)
        if self.keep != "best" or self.evaluator is None:
            return False
        value = self._monitor.value(self.figures, "keep best", "monitor")
        if not math.isfinite(value):
            return False
        larger = self._monitor.direction("monitor") if self.larger_is_better is None else self.larger_is_better
        if self.best is None or (value > self.best if larger else value < self.best):
            self.best = value
            return True
        return False

    def _finish(self) -> None:
        self.wait_for_checkpoint()
        self.save()
        self.wait_for_checkpoint()
        self.log()  # after the checkpoint, so that a run that goes on from it has the records of an uninterrupted one
        self.finished = True
        with self._weights.judged(for_good=True):
            with suppress(EvaluationLeft):
                self._evaluate_finally()
            self._tell("on_run_end", self)
        if self._saving.unsaved is not None:
            raise self._saving.unsaved

    def _evaluate_finally(self) -> None:
        """Evaluate every split once with the weights that the run keeps; an interrupted run leaves it to the next."""
        if self._is_interrupted():
            return
        if self.keep == "best" and self.checkpointer is not None and self.best is not None:
            self._restore_best()
            self._evaluated_at = {}
        step = self.progress.step
        splits = [split for split in self.final_splits if self._evaluated_at.get(split) != step]
        if self.evaluator is not None:
            self._evaluate_each(splits, functools.partial(self._leaving.evaluate, self.evaluator))

    def _restore_best(self) -> None:
        assert self.checkpointer is not None
        best = self.checkpointer.load("best")["parts"]
        for name in ("model", "loss"):
            if name in self.parts and name in best:
                self.parts[name].load_state_dict(best[name])
