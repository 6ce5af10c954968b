"""The run directory: the files of a run. It knows nothing of training."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.errors import DataError, SaveError, UsageError, closest
from wf.typed import finite
from wf_run.bundle.folder import refuse_bundle
from wf_run.directory.claiming import make, refuse_filled
from wf_run.directory.lock import LOCK, is_held, locked
from wf_storage import files
from wf_storage.files import write_atomically
from wf_storage.folders import LATEST, names_in
from wf_storage.manifests import read_manifest, read_records

if TYPE_CHECKING:
    pass


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
            refuse_filled(path)
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
        return read_manifest(self.path / "manifest.json")

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


def _point_latest(path: Path) -> None:
    """Point the link ``latest`` beside the run directory to it, if the file system has links."""
    link, temporary = path.parent / LATEST, path.parent / f".{LATEST}.{os.getpid()}"
    try:
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
