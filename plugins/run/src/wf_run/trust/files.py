"""Reads the files of a run directory that may come from somebody else: plain files of a limited size, no links."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wf.errors import UsageError

MAX_FILES, MAX_BYTES = 1000, 32 * 2**20
"""Limits on the code of a run directory."""


def files_in(folders: Iterable[Path], place: Path) -> dict[str, str]:
    """The SHA-256 of every file below some folders, by its path below the directory.

    Raises:
        UsageError: For links and anything else that is not a plain file, and for too many files or bytes.
    """
    found: dict[str, str] = {}
    waiting, size = [folder for folder in folders if os.path.lexists(folder)], 0
    while waiting:
        folder = waiting.pop()
        if folder.is_symlink() or not folder.is_dir():
            raise _not_plain(folder)
        with os.scandir(folder) as listed:
            entries = list(listed)
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
                continue
            content = read_plain(path)
            size += len(content)
            found[os.path.relpath(path, place)] = hashlib.sha256(content).hexdigest()
            if len(found) > MAX_FILES or size > MAX_BYTES:
                raise UsageError(f"{folder} holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**20} MiB of code")
    return found


def read_plain(path: Path) -> bytes:
    """The contents of a regular file.

    Raises:
        UsageError: For a link, anything else that is not a plain file, and a file that is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_plain(path) from error
        raise UsageError(f"{path} cannot be read as code: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_plain(path)
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is too large for code: more than {MAX_BYTES // 2**20} MiB")
    return content


def _not_plain(path: Path) -> UsageError:
    return UsageError(f"{path} is not a plain file or folder; a run directory's code may contain only these")


def directory_of(run_file: Path) -> Path | None:
    """The run directory or bundle that contains a run file, and that may come from somebody else with all its code."""
    folder = run_file.parent
    if os.path.lexists(folder / "bundle.json"):
        return folder
    is_row = _manifest_in(folder.absolute().parent).get("kind") == "comparison"
    return folder if is_row or "status" in _manifest_in(folder) else None


def _manifest_in(folder: Path) -> Mapping[str, Any]:
    """A run directory's manifest; an unreadable one counts as a manifest, too."""
    file = folder / "manifest.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(read_plain(file))
        return found if isinstance(found, dict) else {}
    except (UsageError, ValueError, RecursionError):
        return {"status": "damaged"}
