"""The processes of a comparison: each builds a row or trains one run. This module imports torch."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import torch

from wf.discovery.guard import Guard
from wf.discovery.modules import describe
from wf.errors import DataError, WfError
from wf.registry import Registry
from wf.terminal import visible
from wf_compare.results import FINAL, read_run
from wf_processes.failures import status_of
from wf_run.directory.lock import locked, refuse_held
from wf_run.experiment import Experiment
from wf_run.planning.plan import prepare
from wf_run.runfiles.reading import read
from wf_run.runfiles.runfile import RunFile
from wf_run.time_limit import TimeLimitReached
from wf_storage import files

_REGISTRIES: dict[Any, Registry] = {}
"""Handlers of this process and the one that it was forked from."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings shared by the processes of a comparison; picklable."""

    plugins: tuple[str, ...] = ()
    """Plugins to load or disable, as given by ``-p``."""
    of_run: tuple[str, ...] = ()
    """Plugins named in run files."""
    guard: Guard | None = None
    """The guard for run files inside a directory; None allows everything."""
    only_builtin: bool = False
    folders: tuple[Path, ...] = ()
    """Where relative paths of the run file are looked up, besides the working directory."""
    jobs: int = 1
    """The number of processes that share the machine's threads."""

    def prepare(self, document: Mapping[str, Any]) -> tuple[RunFile, Registry]:
        """Resolve a run file and create its registry; both are cached, so that forked children inherit them."""
        of_run = tuple(dict.fromkeys((*self.of_run, *document.get("plugins", []))))
        key = (self.plugins, of_run, self.only_builtin, self.guard and self.guard.place)
        if (registry := _REGISTRIES.get(key)) is None:
            ask = None if self.guard is None else self._allowed
            registry = Registry.discover(self.plugins, only_builtin=self.only_builtin, of_run=of_run, ask=ask)
            _REGISTRIES[key] = registry
        return prepare(document, registry, self.folders), registry

    def _allowed(self, _: Registry) -> Guard:
        assert self.guard is not None
        return self.guard

    def divide_threads(self) -> None:
        """Limit torch to this process's share of the threads."""
        torch.set_num_threads(max(1, torch.get_num_threads() // self.jobs))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of building a row."""

    run_file: str = ""
    """Its resolved run file as TOML."""
    figures: tuple[str, ...] = ()
    """Its figures, such as ``validation/accuracy``, and patterns for names that are not declared."""
    directions: Mapping[str, bool] = field(default_factory=dict)
    """Whether a larger figure is better, by name without the split."""
    messages: tuple[str, ...] = ()
    """The choices that wf made for the user."""
    modules: tuple[str, ...] = ()
    """The modules that it imported."""
    error: str = ""
    """Why it cannot be trained."""
    exit_code: int = 0
    """The exit code of the error."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    status: str
    reason: str = ""
    exit_code: int = 0
    modules: tuple[str, ...] = ()
    """The modules that it imported."""


def try_out(plan: Mapping[str, Any], setting: Setting) -> Trial:
    """Build a row without training it or writing anything."""
    before = set(sys.modules)
    setting.divide_threads()
    try:
        ready, registry = setting.prepare(plan)
        with Experiment(ready, registry, save=False, folders=setting.folders, quiet=True) as experiment:
            figures, directions = tuple(experiment.figures), dict(experiment.values.need("directions"))
    except WfError as error:
        return Trial(error=_words(error), exit_code=error.exit_code)
    except Exception as error:
        traceback.print_exception(error)
        return Trial(error=_words(error), exit_code=_exit_code(error))
    return Trial(
        run_file=experiment.run_file(),
        figures=figures,
        directions=directions,
        messages=tuple(experiment.messages),
        modules=_imported_since(before),
    )


def train(run_file: Path, changes: Mapping[str, Any], place: Path, setting: Setting) -> Outcome:
    """Train one run in its directory, from its last checkpoint if there is one; a finished run is left unchanged.

    Args:
        run_file: The row's run file.
        changes: The changes of the repeat.
        place: The run directory.
        setting: The settings shared by all runs.
    """

    def work() -> Outcome:
        def made() -> tuple[RunFile, Sequence[Path]]:
            document, folders = read(run_file)
            return {**document, **changes}, folders

        return train_run(made, place, setting)

    return alone(place, setting, work)


def alone(place: Path, setting: Setting, work: Callable[[], Outcome]) -> Outcome:
    """Do the work of this process on a run: away from the terminal, on its share of the threads, one at a time.

    Args:
        place: The run directory, or the folder of several; log and lock are beside it.
        setting: The settings shared by all runs.
        work: Trains.
    """
    log = place.with_name(f"{place.name}.log")
    _leave_the_terminal(log)
    _end_with_the_parent()
    setting.divide_threads()
    before = set(sys.modules)
    with locked(place.with_name(f".{place.name}.lock"), _wait):  # an orphaned process may still hold it
        outcome = work()
    with suppress(OSError):  # a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    if not log.stat().st_size:
        log.unlink()
    if outcome.status == "interrupted":  # by a signal to this process only: treated as a kill
        sys.exit(outcome.exit_code)
    return replace(outcome, modules=_imported_since(before))


def train_run(
    made: Callable[[], tuple[Mapping[str, Any], Sequence[Path]]],
    place: Path,
    setting: Setting,
    hooks: Sequence[Any] = (),
) -> Outcome:
    """Train one run in this process; errors are written to its log.

    Args:
        made: Gives the run file, and the folders of its relative paths besides those of the setting.
        place: The run directory.
        setting: The settings shared by all runs.
        hooks: Listen to the loop, and are no part of the run.
    """
    before = read_run(place, "").status
    if before in FINAL:
        return Outcome(status=before)
    try:
        refuse_held(place)  # somebody may have resumed this run separately
        if before == "damaged":
            shutil.rmtree(place)
        document, folders = made()
        plan, registry = setting.prepare(document)
        folders = [*folders, *setting.folders]
        with Experiment(plan, registry, run_dir=place, folders=folders, quiet=True) as experiment:
            # --jobs may have changed
            experiment.fit(resume=_can_go_on(experiment, place), allow_drift=("threads",), hooks=hooks)
    except BaseException as error:
        return _explain(error)
    return Outcome(status="done")


def _can_go_on(experiment: Experiment, place: Path) -> bool:
    """Whether the run directory has a checkpoint to resume from; a directory without one is removed, to start over."""
    if not place.exists():
        return False
    assert experiment.loop.checkpointer is not None
    try:
        experiment.loop.checkpointer.load("latest")
    except DataError:
        shutil.rmtree(place)
        return False
    return True


def _explain(error: BaseException) -> Outcome:
    """The outcome of a run that raised an error, which is written to its log."""
    with suppress(OSError):  # a full disk
        if isinstance(error, WfError):
            print(visible(_words(error)), file=sys.stderr)
        else:
            traceback.print_exception(error)
    # a restart would come to the end of its time again
    status = "failed" if isinstance(error, TimeLimitReached) else status_of(error)
    return Outcome(status=status, reason=_words(error).partition("\n")[0], exit_code=_exit_code(error))


def _words(error: BaseException) -> str:
    message = str(error) if isinstance(error, WfError) else describe(error)
    return "\n  ".join([message, *getattr(error, "__notes__", [])])


def _wait(_who: str) -> None:
    """Called while waiting for an orphaned process, which stops by itself."""


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, WfError) else 1


def _imported_since(before: Container[str]) -> tuple[str, ...]:
    """Installed modules that were newly imported; each process imports the user's own code itself."""
    new = [(name, module) for name, module in sys.modules.items() if name not in before]
    places = {name: Path(getattr(module, "__file__", None) or "").parts for name, module in new}
    return tuple(name for name, parts in places.items() if {"site-packages", "dist-packages"} & {*parts})


def _leave_the_terminal(log: Path) -> None:
    """Redirect screen output to the log, and leave Ctrl-C to the parent, which stops the run in order."""
    with suppress(AttributeError, OSError):  # not on every platform
        os.setpgid(0, 0)
    files.make_own_folder(log.parent)
    file = files.open_plain(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _end_with_the_parent() -> None:
    """Stop this process, with a checkpoint, if its parent dies."""
    parent = parent_process()
    if parent is None:
        return

    def watch(sentinels: Sequence[Any]) -> None:
        connection.wait(sentinels)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=([parent.sentinel],), daemon=True).start()
