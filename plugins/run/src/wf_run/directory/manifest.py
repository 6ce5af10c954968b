"""The entries of ``manifest.json`` at the beginning and at the end of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wf_run.assembly import Assembly
from wf_run.description import FILE
from wf_run.directory.rundir import RunDirectory
from wf_run.directory.save_failures import SaveFailures
from wf_run.resuming.conditions import conditions_of, keys_of, own_files
from wf_run.runfiles.reading import read
from wf_run.runfiles.references import resolve
from wf_run.trust.code import Source
from wf_run.trust.records import record


def begin(parts: Assembly, directory: RunDirectory, *, resume: bool, trains_on_from: int | None, rebuild: str) -> None:
    """Write the run file, the conditions of the run, and the description of its data.

    Args:
        parts: The run.
        directory: Its directory, locked.
        resume: Whether it has begun before.
        trains_on_from: For a completed run that trains on: the step at which it ended.
        rebuild: How the model of its bundle can be rebuilt.
    """
    directory.write_run_file(parts.run_file())
    length = {"total_steps": parts.values["total_steps"], "follow_length": parts.fixed_length()}
    started: dict[str, Any] = {} if resume else {"started": _now(), "repeatable": parts.repeatable}
    if parts.init_from is not None:  # also if a resumed run starts over
        started["init_from"] = parts.init_from
    if trains_on_from is not None:
        started["trains_on_from"] = trains_on_from
    if parts.strategy.world_size > 1:  # for a run that goes on in one process, and then in several again
        started["strategy_of_several"] = parts.plan["strategy"]
    made = {**_made_of(parts, directory), "rebuild": rebuild}
    record(directory.path, [_source(directory)], parts.registry)
    directory.update_manifest(status="running", reason=None, **length, **started, **made)
    if not (directory.path / FILE).exists():  # otherwise the run was resumed
        parts.describe_data().write(directory.path, parts.data.sample_ids)


def end(parts: Assembly, directory: RunDirectory | None, save_failures: SaveFailures, status: str, reason: str) -> None:
    """Write the outcome of the run, and its figures."""
    if directory is None:
        return
    loop = parts.loop
    directory.update_manifest(
        status=status,
        reason=reason,
        ended=_now(),
        epochs=loop.progress.epoch,
        steps=loop.progress.step,
        metrics=loop.metrics,
        recorded=loop.recorded,
        notes=loop.notes,
        rollbacks=loop.rollbacks,
        failed_saves=save_failures.failed,
    )


def _made_of(parts: Assembly, directory: RunDirectory) -> dict[str, Any]:
    """The conditions of the run, its samples, and the user's own code."""
    return {
        **conditions_of(parts),
        **({"keys": keys} if (keys := keys_of(parts)) else {}),
        "samples": {one: parts.data.num_samples(one) for one in (*parts.data.splits, *parts.data.sets)},
        "served_from": parts.data.places,
        "exact_resume": parts.resumes_exactly,
        "code": [directory.keep_code(file) for file in own_files(parts)],
    }


def _source(directory: RunDirectory) -> Source:
    """The run file of a directory, and the folders for its relative paths."""
    document, folders = read(directory.run_file)
    return resolve(document, lenient=True), folders


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
