"""The directories of checkpoints: found, put into place in one rename, and removed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from wf_storage import files

_PLACE = re.compile(r"(?:\.old-)?(step-\d{8,})")


def name_of(step: int) -> str:
    """The name of the checkpoint of a step."""
    return f"step-{step:08d}"


def scan(folder: Path) -> dict[str, Path]:
    """The directories of the checkpoints by name, oldest first.

    One that was moved aside by a process that died before its replacement took its place still counts.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():  # ".old-" comes before "step-"
        if match := _PLACE.fullmatch(path.name):
            found[match[1]] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0].removeprefix("step-"))))


def replace(new: Path, place: Path) -> None:
    """Move a finished directory into place; an existing one is removed once the new one is durable."""
    old = place.with_name(f".old-{place.name}")
    moved = place.exists()
    if moved:
        files.rename(place, old)
    try:
        files.rename(new, place)
    except OSError:
        if moved:
            files.rename(old, place)
        raise
    files.sync_directory(place.parent)
    if moved:
        with suppress(OSError):  # the next save cleans it
            files.remove_tree(old)


def clean(folder: Path) -> None:
    """Remove or restore the leftovers of a dead process."""
    for path in sorted(folder.glob(".old-*")):
        place = folder / path.name.removeprefix(".old-")
        if place.exists():
            files.sync_directory(folder)
            files.remove_tree(path)
        else:
            files.rename(path, place)
    for path in sorted(folder.glob(".tmp-*")):
        files.remove_tree(path)


def discard(path: Path) -> None:
    """Remove a checkpoint so that one killed half way leaves none that looks damaged."""
    doomed = path.with_name(f".tmp-{path.name}-gone")
    files.rename(path, doomed)
    files.sync_directory(path.parent)
    files.remove_tree(doomed)
