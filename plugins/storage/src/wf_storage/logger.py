"""The base class of loggers: hooks that write the records of a run to another place, such as a file or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wf import Hook, Loop
from wf.protocols import Strategy
from wf_storage import records
from wf_storage.records import Record

ARTIFACTS = ("run.toml", "plots", "bundle")
"""The files and folders of a run directory that loggers upload as artifacts."""


def flat_options(run_file: Mapping[str, Any]) -> dict[str, Any]:
    """A run file as one table: ``epochs``, ``loss``, ``loss.gamma``, ``hook.early-stopping.patience``.

    A component's name is the value of its kind, or true where a run may have several; None values are left out.
    """
    found: dict[str, Any] = {}
    for key, value in run_file.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) and "use" in one for one in value):
            for one in value:
                found |= {f"{key}.{one['use']}": True, **_options(f"{key}.{one['use']}", one)}
        elif isinstance(value, Mapping) and "use" in value:
            found |= {key: value["use"], **_options(key, value)}
        elif isinstance(value, Mapping):
            found |= flat_options({f"{key}.{name}": one for name, one in value.items()})
        elif value is not None:
            found[key] = value
    return found


def _options(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return flat_options({f"{name}.{key}": value for key, value in table.items() if key != "use"})


class Logger(Hook):
    """Passes every record of the run to `log` once, in the order of ``metrics.jsonl``, even if the process was killed
    in between.

    A resumed run starts after its last checkpoint: `begin` returns how many of its records the destination already
    has, and `log` first gets the missing ones. No record is logged twice. Declare a logger with
    ``traits=HookTraits(watches=True)``: then a failure is reported once, and the run continues without it.

    Args:
        run_dir: The run directory; with None nothing is logged.
        strategy: Only the first process logs.
    """

    told_last = True

    def __init__(self, run_dir: Path | None, strategy: Strategy) -> None:
        self.run_dir = run_dir if strategy.rank == 0 else None
        self._next = 0
        """The number of the next record."""
        self._held = 0
        """The number of records that the destination has."""
        self._rollbacks = 0

    def begin(self, run: Loop, records: Sequence[Record]) -> int:
        """Open the destination, and remove its entries beyond `records`, if possible.

        Called before the first step, and again when the run has gone back to a checkpoint.

        Args:
            run: The loop.
            records: The records of the run so far: none for a new run, the records up to the checkpoint for a resumed
                one.

        Returns:
            The number of records that the destination has. The `records` after these are logged now. If it has more
            than `records`, as after a process was killed between a record and its checkpoint, the next records are
            skipped.
        """
        return 0

    def log(self, record: Record) -> None:
        """Write one record."""
        raise NotImplementedError

    def end(self, run: Loop, error: BaseException | None) -> None:
        """Close the destination: the run is over, with or without an error."""

    def artifacts(self) -> list[Path]:
        """The existing files of the run directory to upload besides the figures: `ARTIFACTS`."""
        if self.run_dir is None:
            return []
        folders = [self.run_dir / name for name in ARTIFACTS]
        files = [file for folder in folders for file in ([folder] if folder.is_file() else sorted(folder.rglob("*")))]
        return [file for file in files if file.is_file() and not file.is_symlink()]

    def on_run_start(self, run: Loop) -> None:
        """Open the destination, and write its missing records."""
        if self.run_dir is not None:
            self._begin(run, self.run_dir)

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Write a training record."""
        self._take(run, "train", "train", record)

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Write an evaluation."""
        self._take(run, "eval", split, metrics)

    def on_run_end(self, run: Loop) -> None:
        """Close the destination."""
        if self.run_dir is not None:
            self.end(run, None)

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Close the destination."""
        if self.run_dir is not None:
            self.end(run, error)

    def _begin(self, run: Loop, run_dir: Path) -> None:
        found = list(records.read(run_dir))
        self._rollbacks = len(run.rollbacks)
        self._next, self._held = len(found), self.begin(run, found)
        for record in found[self._held :]:
            self.log(record)

    def _take(self, run: Loop, event: str, split: str, figures: Mapping[str, Any]) -> None:
        if self.run_dir is None:
            return
        if len(run.rollbacks) != self._rollbacks:
            self._begin(run, self.run_dir)
        record = Record.read(self._next, records.line_of(run, event, split, figures))
        self._next += 1
        if record.number >= self._held:
            self.log(record)
