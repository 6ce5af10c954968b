"""The runs below a folder, read from their manifests; for a running one also from its last records."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf_run.directory.finding import is_run, runs_below
from wf_run.directory.rundir import RunDirectory
from wf_storage import files

NAMED = ("dataset", "model", "loss", "optimizer")
"""The kinds shown in the list."""
_TAIL = 1 << 14
"""The number of bytes read at the end of a file of records."""
_NULL = "@null"
"""None in a run file."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A run in a list."""

    name: str
    run_dir: str
    started: str | None
    status: str
    reason: str | None
    dataset: str | None = None
    model: str | None = None
    loss: str | None = None
    optimizer: str | None = None
    epochs: int | None = None
    steps: int | None = None
    """Updates completed."""
    total_steps: int | None = None
    """The number of updates of the whole run."""
    left_sec: float | None = None
    """Seconds until a running run ends, at its pace so far."""
    rows: Sequence[str] = ()
    """The names of a comparison's rows."""
    num_runs: int | None = None
    """The planned number of runs of a comparison or a cross-validation."""
    num_done: int | None = None
    """The number of its completed runs."""
    init_from: str | None = None
    """Where its initial weights came from: ``checkpoint NAME of RUN``, or a file."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The settings of its run file in which the runs of its dataset differ."""
    metrics: Mapping[str, Any]
    """The figures of the last evaluations."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """The figures of the last steps, besides the loss."""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Its run file, flat: ``optimizer.lr``."""

    @property
    def figures(self) -> dict[str, Any]:
        """All of them."""
        return {**self.recorded, **self.metrics}

    @property
    def is_single(self) -> bool:
        """Whether it is one run, and neither a comparison nor a cross-validation."""
        return self.num_runs is None

    @property
    def shared(self) -> float | None:
        """The completed share of a running run."""
        if self.steps is None or not self.total_steps:
            return None
        return min(self.steps / self.total_steps, 1.0)

    def record(self) -> dict[str, Any]:
        """The run as JSON values."""
        return {name: value for name, value in vars(self).items() if name != "settings"}


def read_runs(place: Path) -> list[Listed]:
    """The run in a directory, or the runs below it, oldest first.

    Raises:
        DataError: If the folder cannot be read.
    """
    if is_run(place):
        return [read_run(place, place.parent)]
    unreadable: dict[str, str] = {}
    found = [read_run(path, place) for path in runs_below(place, unreadable)]
    if str(place) in unreadable:
        raise DataError(f"{place} cannot be read: {unreadable[str(place)]}")
    found += [_unreadable(Path(path), place, why) for path, why in unreadable.items()]
    return sorted(found, key=lambda run: (run.started or "", run.name))


def read_run(path: Path, folder: Path) -> Listed:
    """Read a run; its name is relative to a folder."""
    manifest = _manifest(path)
    within = [] if is_run(path) else [_manifest(run) for run in runs_below(path, {})]
    first = within[0] if within else manifest
    components: dict[str, list[str]] = {}
    for component in first.get("components", []):
        components.setdefault(component["kind"], []).append(component["name"])
    names: dict[str, Any] = {kind: ", ".join(components[kind]) for kind in NAMED if kind in components}
    if manifest.get("kind") == "comparison":
        names = {kind: name for kind, name in names.items() if kind == "dataset"}
    status, steps, left = str(manifest.get("status")), manifest.get("steps"), None
    metrics, total = manifest.get("metrics") or {}, manifest.get("total_steps")
    if status in ("running", "killed") and not within:  # the manifest has only the state at the start
        records, pace = last_records(path), Pace.read(path)
        steps = pace.step if pace else steps
        left = pace.left(total, time.time()) if pace and status == "running" else None
        metrics = {**metrics, **metrics_of(records)}
    return Listed(
        name=path.relative_to(folder).as_posix(),
        run_dir=str(path),
        started=first.get("started"),
        status=status,
        reason=manifest.get("reason"),
        epochs=manifest.get("epochs"),
        steps=steps,
        total_steps=total,
        left_sec=left,
        rows=[str(row["name"]) for row in manifest.get("rows", ())],
        num_runs=_num_runs(manifest, within),
        num_done=sum(run.get("status") == "done" for run in within) if within else None,
        init_from=_source(manifest),
        metrics=metrics,
        recorded=manifest.get("recorded") or {},
        settings=dict(flat(manifest.get("run_file", {}))),
        **names,
    )


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The speed of a run in another process, from its ``timings.jsonl``."""

    step: int
    steps_per_sec: float | None
    """Seconds per step, including evaluations; None with too few records."""
    at: float
    """The time of the last record, as from `time.time`."""

    @classmethod
    def read(cls, run_dir: Path) -> Pace | None:
        """The pace from the last records; None if there are none."""
        file = run_dir / "timings.jsonl"
        found = [record for record in records_at_end(file) if isinstance(record.get("elapsed_sec"), (int, float))]
        if not found:
            return None
        last, first = found[-1], found[-1]
        for record in reversed(found):  # only records of this process, whose clock starts at 0
            if record["elapsed_sec"] > first["elapsed_sec"] or record["step"] > first["step"]:
                break
            first = record
        steps, seconds = last["step"] - first["step"], last["elapsed_sec"] - first["elapsed_sec"]
        try:
            at = file.stat().st_mtime
        except OSError:
            return None
        return cls(step=last["step"], steps_per_sec=steps / seconds if steps and seconds > 0 else None, at=at)

    def left(self, total_steps: int | None, now: float) -> float | None:
        """Seconds until the run ends; None if unknown."""
        if not total_steps or not self.steps_per_sec:
            return None
        return max((total_steps - self.step) / self.steps_per_sec - (now - self.at), 0.0)


def last_records(run_dir: Path) -> list[dict[str, Any]]:
    """The last records of a run's figures."""
    return list(records_at_end(run_dir / "metrics.jsonl"))


def metrics_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last figures of each evaluated split, such as ``validation/loss``."""
    found: dict[str, Any] = {}
    for record in records:
        if record.get("event") == "eval":
            split = record.get("split")
            figures = {name: value for name, value in record.items() if name not in ("event", "split", "epoch", "step")}
            found |= {f"{split}/{name}": value for name, value in figures.items()}
    return found


def records_at_end(file: Path) -> Iterator[dict[str, Any]]:
    """The records at the end of a JSON-lines file; incomplete lines are left out."""
    try:
        descriptor = files.open_plain(file, os.O_RDONLY)
    except OSError:
        return
    with open(descriptor, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - _TAIL, 0))
        lines = stream.read().split(b"\n")
    for line in lines[size > _TAIL : -1]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record


def flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a run file with dots: ``loss``, ``loss.gamma``, ``hook``, ``hook.early-stopping.patience``."""
    for key, value in table.items():
        name = f"{before}{key}"
        if key == "use":
            continue
        if isinstance(value, dict):
            if "use" in value:
                yield name, str(value["use"])
            yield from flat(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            yield name, ", ".join(str(one.get("use")) for one in value)
            for one in value:
                yield from flat(one, f"{name}.{one.get('use')}.")
        else:
            yield name, None if value == _NULL else value


def _source(manifest: Mapping[str, Any]) -> str | None:
    """The source of the initial weights in a manifest: ``checkpoint NAME of RUN``, or a file."""
    found = manifest.get("init_from")
    source = found.get("source") if isinstance(found, Mapping) else None
    return source if isinstance(source, str) else None


def _unreadable(path: Path, folder: Path, why: str) -> Listed:
    name = path.relative_to(folder).as_posix()
    reason = f"{path} cannot be read: {why}"
    return Listed(name=name, run_dir=str(path), started=None, status="unreadable", reason=reason, metrics={})


def _num_runs(manifest: Mapping[str, Any], within: Sequence[Mapping[str, Any]]) -> int | None:
    """The planned number of runs of a comparison or a cross-validation; None for a single run."""
    if manifest.get("kind") == "comparison":
        return len(manifest.get("rows", ())) * len(manifest.get("repeats", ()))
    folds = manifest.get("folds")  # the number of folds, and at the end the figures of each
    return folds if isinstance(folds, int) else len(folds or within) or None


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run; for a run with missing files only its status."""
    directory = RunDirectory(path)
    try:
        manifest = directory.state
    except DataError as error:
        return {"status": "damaged", "reason": str(error)}
    if is_run(path) and not os.path.isfile(directory.run_file):
        return {**manifest, "status": "damaged", "reason": f"{directory.run_file} is gone"}
    return manifest
