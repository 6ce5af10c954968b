"""The records of the runs that this user made, in the user's state folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from wf.discovery.modules import describe
from wf.errors import WfError
from wf.registry import Registry
from wf_run.trust.code import RunCode, Source, code_of, graph_of

STATE = "WF_STATE_DIR"
MAX_RECORDS = 5000
"""The number of runs that are remembered; the oldest is forgotten first."""
_LOG = logging.getLogger("wf")


def record(place: Path, sources: Sequence[Source], registry: Registry) -> None:
    """Remember that this user made a run; a state folder that cannot be written is a warning.

    Args:
        place: The run directory.
        sources: Its run files.
        registry: The run's registry.
    """
    _record(place, lambda: code_of(place, sources, registry))


def record_graph(place: Path, name: str, sha256: str) -> None:
    """Remember that this user made the exported graph of a bundle, as `record` does for a run."""
    _record(place, lambda: graph_of(place, name, sha256))


def _record(place: Path, find: Callable[[], RunCode]) -> None:
    try:
        found = find()
        if found.pieces and not any(piece.blocked for piece in found.pieces):
            _remember(found)
    except (WfError, OSError, RuntimeError, ValueError) as error:
        _LOG.warning(
            "it could not be recorded that the code in %s is yours: %s\n"
            "  later commands on this run will ask for --trust; %s sets another folder",
            place,
            describe(error),
            STATE,
        )


def state_dir() -> Path:
    """The user's state folder.

    Raises:
        RuntimeError: If the user has no home folder.
    """
    if chosen := os.environ.get(STATE):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path  # 5 ms

    return user_state_path("wf", appauthor=False)


def _file_of(own: str) -> Path:
    return state_dir() / "runs" / f"{own}.json"


def recall(own: str) -> tuple[set[str] | None, list[str]]:
    """The paths of the user's files that a run was made with, None if unknown; and the problem with the record."""
    try:
        file = _file_of(own)
        text = file.read_bytes()
    except FileNotFoundError:
        return None, []
    except (OSError, RuntimeError) as error:
        return None, [f"the records of your runs cannot be read and are ignored: {describe(error)}"]
    try:
        found = json.loads(text)
        if found["sha256"] != own:
            raise ValueError("it belongs to another run")
        return {str(path) for path in found["paths"]}, []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return None, [f"{file} is damaged and ignored: {describe(error)}"]


def _remember(found: RunCode) -> None:
    """Write a record to a separate file, so that processes do not conflict."""
    file = _file_of(found.own)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, _ = recall(found.own)
    if before is not None and found.outside.keys() <= before:
        return
    kept = {
        "sha256": found.own,
        "paths": sorted({*(before or ()), *found.outside}),
        "place": str(found.place.resolve()),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(kept, stream)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _forget_oldest(file.parent)


def _forget_oldest(folder: Path) -> None:
    with os.scandir(folder) as listed:
        files = [entry for entry in listed if entry.name.endswith(".json")]
    if len(files) > MAX_RECORDS:
        with contextlib.suppress(OSError):  # another process may remove them, too
            files.sort(key=lambda entry: entry.stat().st_mtime)
            for entry in files[: len(files) - MAX_RECORDS]:
                os.unlink(entry.path)
