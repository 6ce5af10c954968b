"""Writes the records of a run: a hook of the loop, and JSON-lines files that survive failed writes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.engine.events import Hook
from wf.engine.figures import POSITION
from wf.errors import SaveError
from wf.typed import finite
from wf_storage import files
from wf_storage.checksums import digest_of
from wf_storage.manifests import read_records
from wf_storage.records import line_of

if TYPE_CHECKING:
    from wf.engine.loop import Loop


class Recorder(Hook):
    """Writes ``metrics.jsonl`` and ``timings.jsonl``, and keeps the records of this run in memory.

    Args:
        directory: The run directory; None keeps the records in memory only.
        save_failed: Called as ``save_failed(run, error)`` for a record that could not be written; returns True if the
            run should continue, and write the record with the next one. No checkpoint is made without all records
            before it.
    """

    keeps_records = True
    """The hook's attribute `records` holds the records of the run so far, for hooks that plot them."""

    told_last = True

    def __init__(
        self, directory: Path | None, save_failed: Callable[[Loop, SaveError], bool] = lambda *_: False
    ) -> None:
        self.records: list[dict[str, Any]] = []
        self._save_failed = save_failed
        self._metrics = None if directory is None else _Lines(directory / "metrics.jsonl", durable=True)
        try:
            self._timings = None if directory is None else _Lines(directory / "timings.jsonl", durable=False)
        except SaveError:
            if self._metrics is not None:
                self._metrics.close()
            raise
        self._started = time.perf_counter()
        self._elsewhere: Mapping[str, Any] = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
        """The state of another process's file, if this process writes none."""

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Write a train record."""
        self._write(run, line_of(run, "train", "train", record))

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Write an evaluation record."""
        self._write(run, line_of(run, "eval", split, metrics))

    def state_dict(self) -> dict[str, Any]:
        """The length and checksum of ``metrics.jsonl``, which is on disk when this returns.

        Raises:
            SaveError: If it cannot be written.
        """
        return dict(self._elsewhere) if self._metrics is None else self._metrics.sync()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Truncate ``metrics.jsonl`` to its state at the checkpoint."""
        self._elsewhere = state
        if self._metrics is not None:
            self._metrics.cut(state["bytes"])
            self.records = list(read_records(self._metrics.path))

    def close(self) -> None:
        """Close the files."""
        for file in (self._metrics, self._timings):
            if file is not None:
                file.close()

    def _write(self, run: Loop, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self._metrics is None or self._timings is None:
            return
        seconds = round(time.perf_counter() - self._started, 6)
        timing = {**{name: record[name] for name in POSITION}, "elapsed_sec": seconds}
        for hook in run.hooks:
            timing |= getattr(hook, "timings", {})
        for file, line in ((self._metrics, finite(record)), (self._timings, timing)):
            try:
                file.append(json.dumps(line).encode() + b"\n")
            except SaveError as error:
                if not self._save_failed(run, error):
                    raise


class _Lines:
    """A growing JSON-lines file. Lines that may not be on disk stay in memory, to be written again.

    Args:
        path: The file; it is truncated after its last complete line.
        durable: Whether `sync` is called; if not, data accepted by the system counts as written.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path, self._durable = path, durable
        try:
            self._stream: FileIO = files.append(path)
            size = files.whole_lines(path)
        except OSError as error:
            raise SaveError(f"cannot write {path}: {error.strerror}") from error
        self._size, self._lines = 0, bytearray()  # size on disk, and the lines that follow
        self._digest = hashlib.sha256()  # of the data on disk
        self._is_whole = False  # whether all of that is in the file, and nothing else
        self.cut(size)

    def append(self, line: bytes) -> None:
        """Write a line, and earlier ones that are still missing."""
        self._lines += line
        with self._told() as was_whole:
            if was_whole:
                files.write(self._stream, line)
            else:
                self._write_again()
        if not self._durable:
            self._settle()

    def sync(self) -> dict[str, Any]:
        """Write everything to disk; returns the length and checksum of the file."""
        with self._told() as was_whole:
            if not was_whole:
                self._write_again()
            files.sync(self._stream.fileno())
        self._settle()
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes; a shorter file, which truncation would fill with zeros, is unchanged."""
        self._size, self._lines = min(size, self._stream.seek(0, os.SEEK_END)), bytearray()
        with self._told():
            files.truncate(self._stream, self._size)
        if self._durable:
            self._digest = digest_of(self.path, self._size)

    def close(self) -> None:
        self._stream.close()

    def _settle(self) -> None:
        if self._durable:
            self._digest.update(self._lines)
        self._size, self._lines = self._size + len(self._lines), bytearray()

    def _write_again(self) -> None:
        files.truncate(self._stream, self._size)
        files.write(self._stream, self._lines)

    @contextlib.contextmanager
    def _told(self) -> Iterator[bool]:
        """Report the failure; data accepted before it may be lost or incomplete, so it does not count as written."""
        was_whole, self._is_whole = self._is_whole, False
        try:
            yield was_whole
        except OSError as error:
            raise SaveError(f"cannot write {self.path}: {error.strerror}") from error
        self._is_whole = True
