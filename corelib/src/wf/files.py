"""The one layer through which a run directory and its checkpoints reach the disk.

The first functions are single operations, and all else is made of them. They are called as ``files.rename(...)``, so
that a test can put a failure, or the end of the process, in the place of any one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

Data = bytes | bytearray | memoryview


def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are not there."""
    path.mkdir(parents=True)


def create(path: Path) -> FileIO:
    """Open a file to be written from its beginning, without a buffer."""
    return FileIO(path, "w")


def write(stream: FileIO, data: Data) -> None:
    """Write all of `data`; when it fails a part of it may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def truncate(stream: FileIO, size: int) -> None:
    """Cut a file to `size` bytes and go on from there."""
    stream.truncate(size)
    stream.seek(size)


def sync(descriptor: int) -> None:
    """Wait until an open file or directory is on the disk."""
    os.fsync(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file or directory another name, in the place of a file that has it."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file, a link or an empty directory."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def write_file(path: Path, pieces: Iterable[Data]) -> None:
    """Write a file, on the disk when this returns; its name is durable after `sync_directory`."""
    with create(path) as stream:
        for piece in pieces:
            write(stream, piece)
        sync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    if os.name == "nt":  # directories cannot be opened there, and a rename is durable without
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a file, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.iterdir()):
            remove_tree(inner)
    remove(path)
