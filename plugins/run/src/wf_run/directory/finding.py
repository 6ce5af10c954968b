"""Finds run directories below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wf_storage.folders import LATEST

if TYPE_CHECKING:
    pass

MAX_DEPTH = 3
"""Maximum depth when searching for runs: a comparison's run is two folders below it."""


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
