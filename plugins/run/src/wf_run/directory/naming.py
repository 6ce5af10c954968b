"""The names of runs, and the directories that they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wf.errors import UsageError
from wf.terminal import visible
from wf_run.directory.finding import MAX_DEPTH

if TYPE_CHECKING:
    pass

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
