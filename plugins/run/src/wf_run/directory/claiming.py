"""Makes the directory of a new run, which must be empty and belong to this process alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wf.errors import DataError, UsageError
from wf_processes.together import resume_command
from wf_run.directory.lock import LOCK, refuse_held
from wf_storage import files
from wf_storage.manifests import read_manifest

if TYPE_CHECKING:
    pass

_BEFORE_A_RUN = {LOCK, "run.toml", ".run.toml.tmp", ".manifest.json.tmp", "code"}
"""Files that a run directory may have before its manifest; without the lock they may be the user's own."""


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


def refuse_taken(path: Path) -> None:
    """Refuse a non-empty run directory, unless it holds only the leftovers of a run that never started.

    Raises:
        UsageError: Naming the process that works there, if any.
    """
    refuse_held(path)
    refuse_filled(path)


def refuse_filled(path: Path) -> None:
    """As `refuse_taken`, for the process that holds the lock of the directory."""
    names = {file.name for file in path.iterdir()} if path.is_dir() else {path.name}
    if not names or (LOCK in names and names <= _BEFORE_A_RUN):
        return
    way = "there is no run in it, "
    if "manifest.json" in names:
        with contextlib.suppress(DataError):  # the manifest cannot be read
            size = read_manifest(path / "manifest.json").get("world_size", 1)
            way = f"continue that run: {resume_command(path, size if isinstance(size, int) else 1)}   or "
    raise UsageError(f"run directory {path} exists already\n  {way}choose another --name")


def _cannot_make(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot make run directory {path}: {error.strerror}\n  choose another --run-dir")
