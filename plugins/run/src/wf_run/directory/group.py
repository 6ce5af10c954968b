"""A directory that holds several runs, such as a comparison or a search: its manifest, and how it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from wf.errors import DataError, SaveError, UsageError
from wf_run.directory.lock import LOCK, locked
from wf_run.directory.rundir import RunDirectory
from wf_storage import files
from wf_storage.folders import LATEST


class RunGroup:
    """The directory of several runs. A class derived from it says which kind of directory it is.

    Args:
        path: The directory, which has a manifest.
    """

    KIND: ClassVar[str]
    """The manifest's ``kind``, which is also the word for it in messages: ``comparison``."""
    SCHEMA: ClassVar[int] = 1
    """The version of the layout and of the manifest."""
    NEEDED: ClassVar[Set[str]]
    """Required fields of a manifest, besides those that every group has."""
    RESUMED_BY: ClassVar[str]
    """The command that continues it: ``wf compare --resume``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._directory = RunDirectory(path)

    @classmethod
    def begin(cls, path: Path, write: Callable[[Path], object], *, status: str, **fields: Any) -> Self:
        """Create the directory by one rename, so that it is complete or not there.

        Args:
            path: The directory, which must not exist.
            write: Called with a temporary directory, to write the other files.
            status: The first status.
            fields: Further fields of the manifest.

        Raises:
            DataError: If it cannot be written.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            files.make_directory(temporary)
            write(temporary)
            RunDirectory(temporary).update_manifest(
                kind=cls.KIND,
                resumed_by=cls.RESUMED_BY,
                schema=cls.SCHEMA,
                status=status,
                reason=None,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                **fields,
            )
            files.rename(temporary, path)
            files.sync_directory(path.parent)
        except (OSError, SaveError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            why = getattr(cause, "strerror", None) or error
            raise DataError(f"cannot create the directory {path}: {why}\n  choose another --run-dir") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(path)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a directory is one of this kind."""
        return (path / "manifest.json").is_file() and RunDirectory(path).manifest.get("kind") == cls.KIND

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The group in a directory; None if there is none.

        Raises:
            UsageError: If the directory holds something else, or has the name of the newest run.
        """
        if path.name == LATEST:
            raise UsageError(f"'{LATEST}' is another name of the newest run\n  choose another --name")
        if cls.is_at(path):
            return cls(path)
        if os.path.lexists(path):
            raise UsageError(f"{path} already exists and is not a {cls.KIND}\n  choose another --name")
        return None

    @classmethod
    def open(cls, place: str | Path) -> Self:
        """The group in an existing directory: a path, or a name below ``runs/``.

        Raises:
            DataError: If there is no such directory, suggesting the closest ones.
            UsageError: If it holds something else.
        """
        path = RunDirectory.open(place).path
        if not cls.is_at(path):
            raise UsageError(f"{path} is not a {cls.KIND}\n  to continue a run: wf resume {path}")
        return cls(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """The current manifest.

        Raises:
            DataError: If it is damaged or of another version.
        """
        found = self._directory.manifest
        if found.get("schema") != self.SCHEMA:
            raise DataError(
                f"{self.path} has layout {found.get('schema')}, and this version of wf reads layout {self.SCHEMA}\n"
                f"  {self.instead}"
            )
        if missing := self.missing(found):
            file = self.path / "manifest.json"
            raise DataError(f"{file} is damaged: {', '.join(sorted(missing))} missing\n  {self.instead}")
        return found

    def missing(self, manifest: dict[str, Any]) -> Set[str]:
        """The required fields that a manifest lacks."""
        return (self.NEEDED | {"status"}) - manifest.keys()

    @property
    def instead(self) -> str:
        """Advice where the directory cannot be used."""
        return f"its runs: wf runs {self.path}   or start a new {self.KIND}: --name NAME"

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest."""
        self._directory.update_manifest(**fields)

    @contextmanager
    def held(self, say: Callable[[str], object]) -> Iterator[None]:
        """Hold the lock of the directory; waits for another process that has it.

        Args:
            say: Called once with the reason for waiting.
        """
        with locked(self.path / LOCK, lambda who: say(f"{self.path} is in use: {who}; waiting for it")):
            yield
