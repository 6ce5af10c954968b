"""The folders that wf works in: the user's data, and runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LATEST = "latest"


def data_dir() -> Path:
    """The user's data folder: WF_DATA_DIR, or ``wf`` in the user's cache folder, or one for temporary files."""
    if os.environ.get("WF_DATA_DIR"):
        return Path(os.environ["WF_DATA_DIR"]).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "wf"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir()) / f"wf-{os.getuid()}"


def names_in(folder: Path) -> list[str]:
    """The sorted names of the runs directly in a folder, without the link `LATEST`."""
    try:
        found = sorted(entry.name for entry in os.scandir(folder) if entry.name != LATEST)
    except OSError:
        return []
    return [name for name in found if os.path.isfile(folder / name / "manifest.json")]
