"""Resuming from a run's newest checkpoint: checking the conditions and restoring the state."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wf.declarations.conditions import CONDITIONS
from wf.errors import DataError, NothingSavedError, UsageError
from wf_run.assembly import Assembly
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming import drift
from wf_run.resuming.collective import check_processes
from wf_run.resuming.conditions import conditions_of
from wf_run.resuming.restoring import check_records, check_restored

_LOG = logging.getLogger("wf")


@dataclass(frozen=True)
class Saved:
    """The state from which a run is resumed."""

    state: Mapping[str, Any]
    drift: Sequence[drift.Drift]
    """The conditions that have changed and are allowed to."""
    trains_on_from: int | None = None
    """The step after which a part had ended the run, if the user asks for more steps."""

    @property
    def step(self) -> int:
        """The step after which it was saved."""
        return int(self.state["progress"]["step"])


def newest(parts: Assembly, run_dir: Path, allow_drift: Collection[str]) -> Saved | None:
    """The newest checkpoint; None if the run ended before its first one, and starts over.

    Raises:
        UsageError: If the conditions have changed, or the length changes although optimizer or scheduler depend on it,
            or the records do not match the checkpoint.
        DataError: If the run is complete and its checkpoints are gone.
    """
    manifest, checkpointer = RunDirectory.open(run_dir).manifest, parts.loop.checkpointer
    assert checkpointer is not None
    _check_length(parts, run_dir, manifest)
    drift.check_names(allow_drift)
    if not parts.resumes_exactly:
        _LOG.warning("dataset %s is iterable: earlier samples are skipped", parts.name("dataset"))
    try:
        state = checkpointer.load("latest")
    except NothingSavedError as error:
        if manifest.get("status") == "done":
            raise DataError(
                f"there is nothing to resume from: run {run_dir} is complete, and its checkpoints are gone"
                f"\n  train anew: wf run {run_dir / 'run.toml'} --name NAME"
            ) from error
        free = [name for name in CONDITIONS if name != "dataset"]
        drift.check(manifest, conditions_of(parts), [*free, *allow_drift], str(run_dir))
        _LOG.warning("%s; it starts over under the current conditions", error)
        parts.initialize_anew()
        return None
    conditions = conditions_of(parts)
    found = drift.check(manifest, conditions, allow_drift, str(run_dir))
    if unknown := drift.unknown_in(manifest):
        _LOG.warning("the run has no record of these conditions, so they are not compared: %s", ", ".join(unknown))
    if lost := drift.lost(manifest, conditions):
        _LOG.warning("no plugin here reads these conditions, so they are not compared: %s", ", ".join(lost))
    check_processes(state, parts.strategy.world_size)
    check_records(run_dir / "metrics.jsonl", state, allow_drift)
    return _to_train_on(parts, manifest, Saved(state, found))


def put_back(parts: Assembly, saved: Saved, directory: RunDirectory | None, allowed: Collection[str]) -> None:
    """Restore a checkpoint, verify it, and record the conditions that have changed."""
    parts.loop.load_state_dict(saved.state, partial=drift.is_allowed("state", allowed))
    parts.loop.ended = saved.state.get("ended")
    found = [*saved.drift, *check_restored(parts.loop, saved.state, allowed)]
    if directory is None or not found:
        return
    for one in found:
        _LOG.warning("%s", one)
    before, now = directory.manifest.get("drift", []), datetime.now(UTC).isoformat(timespec="seconds")
    directory.update_manifest(drift=[*before, drift.record(found, parts.loop.progress.step, now)])


def _check_length(parts: Assembly, run_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse to change the length of a run whose optimizer or scheduler depends on it."""
    before, now, fixed = manifest.get("total_steps"), parts.values["total_steps"], parts.fixed_length()
    if before in (None, now) or not fixed:
        return
    done = manifest.get("status") == "done"
    verb = "follows" if len(fixed) == 1 else "follow"
    raise UsageError(
        f"{' and '.join(fixed)} {verb} the run's length, {before:,} steps, and cannot be stretched to {now:,}"
        + ("" if done else f"\n  resume to its original end: wf resume {run_dir}")
        + f"\n  train anew: wf run {run_dir / 'run.toml'} --epochs N --name NAME"
    )


def _to_train_on(parts: Assembly, manifest: Mapping[str, Any], saved: Saved) -> Saved:
    """The state without the end recorded by a part of the run, if the user asks for more steps."""
    ended = saved.state.get("ended")  # which older checkpoints do not have
    is_asked = manifest.get("status") == "done" or manifest.get("total_steps") != parts.values["total_steps"]
    if ended is None or not (is_asked or manifest.get("trains_on_from") == saved.step):
        return saved
    _LOG.info("the run had ended: %s; it continues training from step %s", ended, f"{saved.step:,}")
    return replace(saved, state={**saved.state, "ended": None}, trains_on_from=saved.step)
