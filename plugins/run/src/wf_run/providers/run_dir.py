"""The run directory."""

from __future__ import annotations

import weakref
from datetime import datetime
from pathlib import Path

from wf.errors import DataError
from wf.protocols import Strategy
from wf_run.directory.claiming import claim
from wf_run.run_build import RunBuild


def run_dir(run: RunBuild, strategy: Strategy, stepping: None) -> Path | None:
    """The run directory; None if nothing is written. Without a given one, a new one is created at once.

    It is removed at the end if it is still empty.
    """
    if not run.save:
        return None
    if run.asked_dir is not None:
        return run.asked_dir
    return _claim(run, strategy, run.default_name or _default_name(run)) / run.subfolder


def _claim(run: RunBuild, strategy: Strategy, name: str) -> Path:
    """Make a run directory: the first process creates it, and the others get its name."""
    claimed, error = None, None
    if strategy.rank == 0:
        try:
            claimed = claim(Path("runs") / name)
            run.values.at_close(weakref.finalize(run, claimed.give_up))  # also if it is never fitted or closed
        except DataError as failure:
            error = failure
    name = run.text_of_the_first("" if claimed is None else claimed.path.name)
    if not name:
        raise error or DataError("process 0 could not make the run directory; its own message says why")
    return Path("runs") / name


def _default_name(run: RunBuild) -> str:
    """A name made of date, dataset, loss and optimizer."""
    last = run.name("optimizer" if "optimizer" in run.built else "trainer")
    date = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = [run.name(kind) for kind in ("dataset", "loss") if kind in run.plan]
    return "-".join((date, *names, last)).replace("/", "-")
