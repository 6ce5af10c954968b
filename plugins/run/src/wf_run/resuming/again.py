"""Repeating a command: it resumes the run in its directory."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.engine.cadence import Progress
from wf.errors import DataError, UsageError
from wf_run.directory.kept import load_kept
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming import drift

if TYPE_CHECKING:
    from wf_run.experiment import Experiment

_LOG = logging.getLogger("wf")


def run_in(place: Path | None) -> RunDirectory | None:
    """The run in a directory; None if none has begun.

    Raises:
        UsageError: If no directory is given: a default one differs each time.
    """
    if place is None:
        raise UsageError("to resume an existing run, name it: --name NAME, or --run-dir DIR")
    return RunDirectory(place) if (place / "manifest.json").is_file() else None


def check_same(experiment: Experiment, directory: RunDirectory) -> None:
    """Refuse a directory of another run.

    Raises:
        UsageError: With the differences of its run file.
    """
    before = directory.manifest
    if "run_file" not in before:
        raise UsageError(f"run directory {directory.path} has no run file to compare with: choose another --name")
    found = drift.compare({"run_file": before["run_file"]}, {"run_file": tomllib.loads(experiment.run_file())})
    if found:
        differences = "\n  ".join(map(str, found))
        raise UsageError(
            f"run directory {directory.path} has another run\n  {differences}"
            f"\n  choose another --name, or resume the existing run: wf resume {directory.path}"
        )


def is_done(experiment: Experiment, directory: RunDirectory) -> bool:
    """Whether the run has reached the requested length."""
    manifest = directory.manifest
    steps = experiment.total_steps
    is_long_enough = manifest.get("total_steps") == steps or manifest.get("steps", 0) >= steps
    return manifest.get("status") == "done" and is_long_enough


def show_done(experiment: Experiment, directory: RunDirectory) -> None:
    """Restore an experiment to the end of its run."""
    manifest, loop = directory.manifest, experiment.loop
    _LOG.warning("run %s is already complete: %s", directory.path, manifest.get("reason"))
    loop.progress = Progress(epoch=manifest.get("epochs", 0), step=manifest.get("steps", 0))
    loop.metrics, loop.notes = dict(manifest.get("metrics", {})), dict(manifest.get("notes", {}))
    loop.recorded = dict(manifest.get("recorded", {}))
    loop.rollbacks, loop.finished = list(manifest.get("rollbacks", [])), True
    assert loop.checkpointer is not None
    try:
        state: Any = load_kept(loop.checkpointer, loop.keep)[0]
    except DataError as error:
        _LOG.warning("its weights are missing: %s", error)
        return
    loop.best, loop.stop_reason = state["best"], state.get("ended")
    for name in ("model", "loss"):
        if name in loop.parts and name in state["parts"]:
            loop.parts[name].load_state_dict(state["parts"][name])
