"""Trains a run: from locking its directory to recording the end in its manifest."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from wf.blame import FAILURES, naming_culprit
from wf.engine.cadence import Epochs, Steps
from wf.engine.events import Hook
from wf.engine.loop import Loop
from wf.errors import DataError, InterruptedRun, SaveError, UsageError, WfError
from wf.terminal import plural
from wf_processes.failures import advice, is_memory, reason_of, status_of
from wf_processes.signals import STOPPING, signals_stop
from wf_processes.together import keep_place, telling_others
from wf_run.assembly import Assembly
from wf_run.bundle.rebuild import rebuild_of
from wf_run.bundle.writing import Outcome, states_for, write_bundle
from wf_run.directory import manifest
from wf_run.directory.hook_failures import HookFailures
from wf_run.directory.lock import locked
from wf_run.directory.recorder import Recorder
from wf_run.directory.rundir import RunDirectory
from wf_run.directory.save_failures import SaveFailures
from wf_run.lost import record_lost
from wf_run.parts import memory
from wf_run.parts.precision import check_tf32
from wf_run.resuming.alike import check_conditions
from wf_run.resuming.continuing import newest, put_back
from wf_run.resuming.restoring import check_savable
from wf_run.time_limit import TimeLimitReached, limited

_LOG = logging.getLogger("wf")


class _Ended(Hook):
    """Calls a function at the end of a run that was not interrupted: after other hooks, before loggers upload its
    files.

    Args:
        then: The function.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def on_run_end(self, run: Loop) -> None:
        """Do it."""
        if not run.interrupted and (run.stop_reason is None or run.ended is not None):
            self._then()


class Training:
    """Trains a run and records it.

    Args:
        parts: The run.
        working: Returns the context in which the run computes: its precision and kernels.
    """

    def __init__(self, parts: Assembly, working: Callable[[], AbstractContextManager[None]]) -> None:
        self._parts, self._loop, self._working = parts, parts.loop, working
        self._plan, self._strategy = parts.plan, parts.strategy
        self._hook_failures: HookFailures = parts.values["run.hook_failures"]
        self._save_failures: SaveFailures = parts.values["run.save_failures"]
        self._hooks: tuple[Any, ...] = ()
        """Those that are no part of the run."""
        self._begun_at = 0
        self.rebuild = rebuild_of(parts)
        """How the model of the bundle can be rebuilt."""
        self.recorder = Recorder(None)
        """Writes the records of ``metrics.jsonl``."""

    def run(self, *, resume: bool, allow_drift: Collection[str], hooks: Sequence[Any] = ()) -> None:
        """Train until the run file's length is reached; see `wf_run.experiment.Experiment.fit`."""
        self._hooks = tuple(hooks)
        self._check_together(resume=resume)
        check_conditions(self._parts)
        check_tf32(self._plan["precision"], self._strategy.device)
        failure = None if resume else self._failure_of_state()
        with (
            self._working(),
            signals_stop(self._loop.interrupt, at_once=self._strategy.world_size == 1) as received,
            self._held_directory(resume=resume) as directory,
            limited(self._plan.get("max_time"), self._stop_by_time) as is_over,
        ):
            self._train(directory, received, is_over, failure, resume=resume, allow_drift=allow_drift)

    def _check_together(self, *, resume: bool) -> None:
        """Check that all processes resume a run, or none does."""
        strategy = self._strategy
        if strategy.world_size > 1 and strategy.agree(resume) and strategy.agree(not resume):
            one, other = ("a run", "none") if resume else ("no run", "one")
            raise UsageError(
                f"process {strategy.rank} finds {one} in {self._parts.run_dir}, and another process {other}"
                "\n  the processes of a run need a shared file system"
            )

    def _failure_of_state(self) -> BaseException | None:
        """Refuse a run whose state cannot be saved; returns the error of a part, which ends the run."""
        if self._loop.checkpointer is None:
            return None
        try:
            check_savable(self._loop, self._parts.may_fail())
        except FAILURES as error:
            if isinstance(error, WfError):
                raise
            return error
        return None

    @contextmanager
    def _held_directory(self, *, resume: bool) -> Iterator[RunDirectory | None]:
        """The run directory, locked; None if this process does not write one."""
        run_dir = self._parts.run_dir
        if run_dir is None or self._strategy.rank != 0:
            yield None
            return
        keep_place(run_dir)
        if resume:
            directory = RunDirectory.open(run_dir)
            with locked(directory.lock_file):
                yield directory
        else:
            with RunDirectory.begin(run_dir) as directory:
                yield directory

    def _train(
        self,
        directory: RunDirectory | None,
        received: Sequence[signal.Signals],
        is_over: Callable[[], bool],
        failure: BaseException | None,
        *,
        resume: bool,
        allow_drift: Collection[str],
    ) -> None:
        """Train, or end at once with the `failure` that a part has already raised."""
        parts, loop, saved = self._parts, self._loop, None
        if resume:  # before the directory is changed: resuming may be refused
            assert parts.run_dir is not None
            saved = newest(parts, parts.run_dir, allow_drift)
        if directory is not None:
            trains_on_from = None if saved is None else saved.trains_on_from
            manifest.begin(parts, directory, resume=resume, trains_on_from=trains_on_from, rebuild=self.rebuild.by)
        self._save_failures.begin(directory)
        try:
            self.recorder = Recorder(directory.path if directory else None, self._save_failures)
            loop.hooks = (*parts.hooks, *self._hooks, _Ended(lambda: self._write_bundle(directory)), self.recorder)
            self._hook_failures.begin(loop, directory, loop.progress.step if saved is None else saved.step)
            with telling_others(), naming_culprit(parts.registry.plugins):
                if failure is not None:
                    raise failure
                if saved is not None:
                    put_back(parts, saved, directory, allow_drift)
                elif resume:
                    self.recorder.load_state_dict(Recorder(None).state_dict())
                self._begun_at = loop.progress.step
                loop.run(parts.data, self._until())
                self._raise_signal(received)
                self._raise_time_limit(is_over())
        except BaseException as error:
            self._note_failure(directory, error)
            if isinstance(error, InterruptedRun):
                # when one process exits, torchrun ends the others, which may still be writing
                self._strategy.agree(False)
            raise
        finally:
            self.recorder.close()
        manifest.end(parts, directory, self._save_failures, "done", loop.stop_reason or f"{self._until_words()} done")

    def _write_bundle(self, directory: RunDirectory | None) -> None:
        """Write ``bundle/``; a failure does not fail the run."""
        loop = self._loop
        if directory is None and getattr(self._strategy, "mesh", None) is None:
            return
        states = states_for(loop.parts)
        if directory is None:
            return
        made = Outcome(
            rebuild=self.rebuild,
            states=states,
            metrics=loop.metrics,
            steps=loop.progress.step,
            epochs=loop.progress.epoch,
            best=loop.keep == "best" and loop.best is not None,
        )
        try:
            rebuild = write_bundle(self._parts, directory, made)
            if rebuild.by != self.rebuild.by:
                _LOG.warning("%s", rebuild.words.removeprefix("warning: "))
                directory.update_manifest(rebuild=rebuild.by)
        except (SaveError, UsageError) as error:
            _LOG.warning("the run is complete, but its bundle could not be written: %s", error)

    def _note_failure(self, directory: RunDirectory | None, error: BaseException) -> None:
        """Add advice to the error, and record the end of the run; a full disk must not hide the error."""
        if is_memory(error):
            options = self._options("model")
            error.add_note(memory.remedies(error, self._plan, self._loop, self._strategy.device, options))
        elif advice(error):
            error.add_note(advice(error))
        try:
            manifest.end(self._parts, directory, self._save_failures, status_of(error), reason_of(error))
        except DataError as another:
            error.add_note(f"the end of the run could not be recorded either: {another}")
        if directory is None and self._parts.run_dir is not None:  # the first process may be gone
            record_lost(self._parts.run_dir, status_of(error), reason_of(error))

    def _options(self, kind: str) -> list[str]:
        """The options of the component of a kind."""
        entry = self._parts.entry(kind)
        return [param.name for param in self._parts.builder.params(entry)] if entry else []

    def _raise_signal(self, received: Sequence[signal.Signals]) -> None:
        """Raise `InterruptedRun` if any of the processes got a signal."""
        for number in STOPPING:
            if self._strategy.agree(number in received[:1]):
                raise InterruptedRun(f"stopped by {number.name} after step {self._loop.progress.step}", number)

    def _stop_by_time(self, reason: str) -> bool:
        """End as after a signal; False if the run has finished its steps."""
        until, progress = self._until(), self._loop.progress
        if (progress.step if isinstance(until, Steps) else progress.epoch) >= until.num:
            return False
        self._loop.interrupt(reason)
        return True

    def _raise_time_limit(self, stopped: bool) -> None:
        """Raise `TimeLimitReached` if the time of any process ran out before the run ended."""
        limit = self._plan.get("max_time")
        if limit is not None and self._strategy.agree(stopped):
            step, why = self._loop.progress.step, f"max_time {limit} is over"
            if step == self._begun_at:
                why = f"max_time {limit} was over before the first step of this process; set a longer --max-time"
            raise TimeLimitReached(f"stopped after step {step:,}: {why}")

    def _until(self) -> Epochs | Steps:
        return Steps(self._plan["steps"]) if self._plan["steps"] is not None else Epochs(self._plan["epochs"])

    def _until_words(self) -> str:
        until = self._until()
        unit = "step" if isinstance(until, Steps) else "epoch"
        return plural(until.num, unit)
