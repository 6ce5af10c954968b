"""The run directory: the files of a run. It knows nothing of training."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.engine.events import Hook
from wf.engine.figures import POSITION
from wf.errors import DataError, SaveError, UsageError, closest
from wf.terminal import visible
from wf.typed import finite
from wf_processes.together import resume_command
from wf_run.bundle.folder import refuse_bundle
from wf_run.directory.lock import LOCK, is_held, locked, refuse_held
from wf_storage import files, manifests
from wf_storage.files import write_atomically
from wf_storage.folders import LATEST, names_in
from wf_storage.manifests import read_records
from wf_storage.records import line_of

if TYPE_CHECKING:
    from wf.engine.loop import Loop

MAX_MANIFEST = 1 << 26
"""The maximum size of a manifest, in bytes."""
MAX_DEPTH = 3
"""Maximum depth when searching for runs: a comparison's run is two folders below it."""
_BEFORE_A_RUN = {LOCK, "run.toml", ".run.toml.tmp", ".manifest.json.tmp", "code"}
"""Files that a run directory may have before its manifest; without the lock they may be the user's own."""


MAX_NAME = 200
"""The maximum length of a folder's name in bytes; file systems allow 255, and temporary names are longer."""


def place_of(name: str | None, run_dir: str | os.PathLike[str] | None) -> Path | None:
    """The directory for a run: below ``runs/`` by name, or anywhere by path; None if neither is given.

    Raises:
        UsageError: If both are given, and for an invalid name, or one that leads out of ``runs/``.
    """
    if name is not None and run_dir is not None:
        raise UsageError("both --name and --run-dir are given; choose one")
    if run_dir is not None:
        if not os.fspath(run_dir).strip() or "\0" in os.fspath(run_dir):
            raise UsageError("--run-dir is blank, or not a path\n  give a path, or leave it out")
        return Path(run_dir)
    if name is None:
        return None
    if wrong := _wrong_in_name(name):
        raise UsageError(f"name '{visible(name[:MAX_NAME], line=True)}' {wrong}\n  a path of any kind: --run-dir DIR")
    return Path("runs") / name


def _wrong_in_name(name: str) -> str:
    """The problem with a run's name; empty if it is valid."""
    parts = name.split("/")
    if not name.strip():
        return "is blank"
    if name.startswith("/") or {".", ".."} & {*parts} or "\\" in name:
        return "leads out of runs/"
    if any(part.strip() != part or part.startswith((".", "-")) for part in parts):
        return "begins with a dot, a dash or a blank, or ends with a blank"
    if "" in parts or len(parts) > MAX_DEPTH:
        return f"has an empty part, or more than {MAX_DEPTH} parts"
    if not name.isprintable():
        return "has characters that cannot be printed, or is not UTF-8"
    if any(len(part.encode()) > MAX_NAME for part in parts):
        return f"is longer than {MAX_NAME} bytes"
    return ""


class RunDirectory:
    """One run's files: ``run.toml``, ``manifest.json``, ``metrics.jsonl``, ``timings.jsonl``, ``code/``.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Make a new run directory and point the link ``latest`` beside it to it.

        An empty directory, or one whose process died before its run began, is reused.

        Raises:
            UsageError: If it exists otherwise, or is called ``latest``.
            DataError: When it cannot be written.
        """
        if path.name == LATEST:
            raise UsageError(f"'{LATEST}' is another name of the newest run\n  choose another --name")
        make(path)
        _point_latest(path)
        return cls(path)

    @classmethod
    @contextlib.contextmanager
    def begin(cls, path: Path) -> Iterator[RunDirectory]:
        """Make a new run directory, as `create` does, and hold its lock.

        Raises:
            UsageError: As `create`, also if another process was faster, even if it has ended by now.
            DataError: As `create`.
        """
        directory = cls.create(path)
        with locked(directory.lock_file):
            _refuse_filled(path)
            yield directory

    @classmethod
    def open(cls, place: str | Path) -> RunDirectory:
        """An existing run directory: a path, or a name below ``runs/`` (``latest`` is the newest).

        Raises:
            DataError: If there is none, suggesting the closest ones; if it is a checkpoint, or has no manifest.
            UsageError: If it is a bundle.
        """
        path = Path(place)
        refuse_bundle(path)
        for candidate in (path, Path("runs") / path):
            if _is_checkpoint(candidate):
                run = candidate.resolve().parent.parent
                raise DataError(f"{candidate} is a checkpoint, not a run directory\n  name its run: {run}")
            if os.path.isfile(candidate / "manifest.json"):
                return cls(candidate.resolve() if candidate.name == LATEST else candidate)
            if os.path.isfile(candidate / "run.toml"):
                _refuse_unreadable(candidate)
                raise DataError(
                    f"{candidate} has no manifest.json: its run never started, or the file was lost"
                    f"\n  train anew: wf run {candidate / 'run.toml'} --name NAME"
                )
        for candidate in (path, Path("runs") / path):
            _refuse_unreadable(candidate)
        folder = path.parent if path.parent != Path() else Path("runs")
        known = names_in(folder)
        listed = closest(path.name, [*known, LATEST] if os.path.isdir(folder / LATEST) else known) or known[-5:]
        more = f", ... ({len(known)} in all)" if len(known) > len(listed) else ""
        available = f"\n  in {folder}: {', '.join(listed)}{more}" if listed else f"\n  there are no runs in {folder}"
        raise DataError(f"there is no run directory '{place}'{available}")

    @property
    def run_file(self) -> Path:
        """The resolved run file."""
        return self.path / "run.toml"

    @property
    def directions(self) -> dict[str, bool]:
        """Whether a larger figure is better, by its name without the split, as the parts of the run declared it."""
        try:
            found = json.loads((self.path / "data.json").read_bytes())["values"]["directions"]
        except (OSError, ValueError, KeyError, TypeError):  # from an older wf, or not written yet
            found = None
        if not isinstance(found, dict):
            return {}
        return {str(name): larger for name, larger in found.items() if isinstance(larger, bool)}

    @property
    def manifest(self) -> dict[str, Any]:
        """The current manifest.

        Raises:
            DataError: If it cannot be read, or is invalid.
        """
        file = self.path / "manifest.json"
        try:
            found = manifests.parse(files.read(file, MAX_MANIFEST))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{file} cannot be read: {why}") from error
        if wrong := manifests.wrong_in_manifest(found):
            raise DataError(f"{file} cannot be read: {wrong}")
        return dict(found)

    @property
    def state(self) -> dict[str, Any]:
        """The manifest for a reader: its status is "killed" if it says "running" but no process holds the lock."""
        manifest = self.manifest
        if manifest.get("status") == "running" and is_held(self.lock_file) is False:
            manifest = self.manifest  # the run may have ended meanwhile
            if manifest.get("status") == "running":
                return {**manifest, "status": "killed", "reason": "its process is gone"}
        return manifest

    @property
    def lock_file(self) -> Path:
        """The file that the training process locks, see `wf_run.directory.lock`."""
        return self.path / LOCK

    def write_run_file(self, text: str) -> None:
        """Write ``run.toml``."""
        write_atomically(self.run_file, text)

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of ``manifest.json``."""
        manifest = self.manifest if (self.path / "manifest.json").exists() else {}
        text = json.dumps(finite({**manifest, **fields}), indent=2, default=str)
        write_atomically(self.path / "manifest.json", text + "\n")

    def keep_code(self, file: Path) -> dict[str, str]:
        """Copy a source file into ``code/``; returns the copy's name and SHA-256."""
        data = files.read(file)
        digest = hashlib.sha256(data).hexdigest()
        copy = self.path / "code" / file.name
        try:
            files.make_own_folder(copy.parent)
            if _is_own(copy) and files.read(copy) != data:  # another file of the same name
                copy = copy.with_stem(f"{file.stem}-{digest[:8]}")
            if not _is_own(copy):
                files.write_file(copy, [data])
                files.sync_directory(copy.parent)
        except OSError as error:
            raise SaveError(f"cannot write {copy}: {error.strerror}") from error
        return {"file": copy.name, "sha256": digest}

    def records(self) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl``."""
        return list(read_records(self.path / "metrics.jsonl"))


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


def is_run(path: Path) -> bool:
    """Whether a directory is a run, even if it lost a file; a directory of several runs is not one."""
    return sum(os.path.isfile(path / name) for name in ("run.toml", "manifest.json", "metrics.jsonl")) > 1


def runs_below(folder: Path, unreadable: dict[str, str], depth: int = MAX_DEPTH) -> Iterator[Path]:
    """The run directories below a folder, by name; without nested ones.

    Args:
        folder: The folder to search, `depth` levels deep; links are followed only if they point to a run.
        unreadable: Receives each unreadable folder and the reason.
        depth: See `folder`.
    """
    try:
        inside = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        unreadable[str(folder)] = str(error.strerror)
        return
    for name in inside:
        path = folder / name
        if name == LATEST or name.startswith("."):
            continue
        if os.path.isfile(path / "manifest.json") or is_run(path):
            yield path
        elif depth > 1 and not path.is_symlink():
            yield from runs_below(path, unreadable, depth - 1)
        elif not os.access(path, os.R_OK | os.X_OK):
            unreadable[str(path)] = "Permission denied"


def refuse_taken(path: Path) -> None:
    """Refuse a non-empty run directory, unless it holds only the leftovers of a run that never started.

    Raises:
        UsageError: Naming the process that works there, if any.
    """
    refuse_held(path)
    _refuse_filled(path)


def _refuse_filled(path: Path) -> None:
    names = {file.name for file in path.iterdir()} if path.is_dir() else {path.name}
    if not names or (LOCK in names and names <= _BEFORE_A_RUN):
        return
    way = "there is no run in it, "
    if "manifest.json" in names:
        with contextlib.suppress(DataError):  # the manifest cannot be read
            size = RunDirectory(path).manifest.get("world_size", 1)
            way = f"continue that run: {resume_command(path, size if isinstance(size, int) else 1)}   or "
    raise UsageError(f"run directory {path} exists already\n  {way}choose another --name")


def make(path: Path) -> None:
    """Create a directory for a run; one that `refuse_taken` accepts is reused.

    Raises:
        UsageError: If the directory is in use.
        DataError: If it cannot be created.
    """
    try:
        try:
            files.make_directory(path)
        except FileExistsError:
            refuse_taken(path)
        files.sync_directory(path.parent)
    except OSError as error:
        raise _cannot_make(path, error) from error


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An empty directory that belongs to this process alone."""

    path: Path
    made: Sequence[Path]
    """The directory, and the folders above it that were created for it."""

    def give_up(self) -> None:
        """Remove it if it is still empty."""
        for folder in self.made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def claim(path: Path) -> Claim:
    """Make an empty directory at `path`, or at the first free one of ``path-2``, ``path-3``, ...

    Several processes that ask for the same path get different directories.

    Raises:
        DataError: If it cannot be created.
    """
    above = [folder for folder in path.parents if not folder.exists()]
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            files.make_directory(place)
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_make(place, error) from error
        return Claim(path=place, made=(place, *above))
    raise AssertionError


def _cannot_make(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot make run directory {path}: {error.strerror}\n  choose another --run-dir")


def _is_own(file: Path) -> bool:
    """Whether it is a file and not a link."""
    return file.is_file() and not file.is_symlink()


def _is_checkpoint(path: Path) -> bool:
    return os.path.isfile(path / "state.json") and path.resolve().parent.name == "checkpoints"


def _refuse_unreadable(path: Path) -> None:
    """Explain why an existing path is not a run."""
    try:
        os.stat(path / "manifest.json")
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"run directory {path} cannot be read: {why}") from error
    raise DataError(f"run directory {path} cannot be read: its manifest.json is not a plain file")


def sha256_of(file: Path) -> str:
    """The checksum of a file's content."""
    return digest_of(file).hexdigest()


def digest_of(file: Path, size: int | None = None) -> hashlib._Hash:
    """The SHA-256 of a file, or of its first `size` bytes, as a hash object that can be updated further."""
    digest = hashlib.sha256()
    for block in files.blocks(file, size):
        digest.update(block)
    return digest


def _point_latest(path: Path) -> None:
    """Point the link ``latest`` beside the run directory to it, if the file system has links."""
    link, temporary = path.parent / LATEST, path.parent / f".{LATEST}.{os.getpid()}"
    try:
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
