"""Records how a run ended whose own process could not: it was killed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from wf.errors import DataError, UsageError
from wf_run.directory.lock import is_held, locked
from wf_run.directory.rundir import RunDirectory

_LOG = logging.getLogger("wf")


def record_lost(run_dir: Path, status: str, reason: str) -> None:
    """Record the end of a run that says it is running although no process holds its lock.

    Args:
        run_dir: Its directory; a fold's is in the directory of its cross-validation, which ends with it.
        status: The manifest's word for how it ended.
        reason: Why.
    """
    for place in (run_dir, run_dir.parent):
        directory = RunDirectory(place)
        try:
            if not _is_lost(directory):
                continue
            with locked(directory.lock_file):
                if _is_lost(directory, by_me=True):
                    ended = datetime.now(UTC).isoformat(timespec="seconds")
                    directory.update_manifest(status=status, reason=reason, ended=ended)
        except UsageError:  # another process was faster
            continue
        except DataError as error:
            _LOG.warning("the end of the run could not be recorded: %s", error)


def _is_lost(directory: RunDirectory, *, by_me: bool = False) -> bool:
    if not (directory.path / "manifest.json").is_file() or directory.manifest.get("status") != "running":
        return False
    return by_me or is_held(directory.lock_file) is False
