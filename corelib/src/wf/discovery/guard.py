"""The guard for code in a run directory: only the exact bytes that were allowed may be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wf.errors import UsageError


class UntrustedError(UsageError):
    """A run directory names code that is not known to be the user's own.

    Args:
        message: The code that would run.
        checksum: The value for ``--trust`` that allows it; empty where nothing does.
    """

    def __init__(self, message: str, checksum: str = "") -> None:
        super().__init__(message)
        self.checksum = checksum


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Asked before each piece of code that a run directory names is loaded. The default allows nothing."""

    place: str
    """The owner of the code, for messages."""
    targets: frozenset[str] = frozenset()
    """The ``module:Attr`` and the plugin modules that may be imported."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file that may be run, by its path without links."""
    hint: str = "the directory may have been changed meanwhile: repeat the command to see its present code"
    """Advice for a refusal."""

    def check_target(self, text: str) -> None:
        """Refuse a ``module:Attr`` or a module that was not allowed."""
        if text not in self.targets:
            raise UntrustedError(f"{self.place} names {text}, which was not allowed to run\n  {self.hint}")

    def check_file(self, path: Path, content: bytes) -> None:
        """Refuse a file that was not allowed, or whose content has changed."""
        import hashlib  # it loads OpenSSL, and most commands check no file

        if self.files.get(str(path)) != hashlib.sha256(content).hexdigest():
            raise UntrustedError(f"{self.place} names {path}, which was not allowed to run\n  {self.hint}")
