"""All writes of a run directory and its checkpoints go through this module.

The first functions are single operations, and all else is made of them. They are called as ``files.rename(...)``, so
that a test can put a failure, or the end of the process, in the place of any one of them.

A run directory may come from somebody else. Nothing is written through a link in it, and nothing waits for a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from wf.errors import SaveError

Data = bytes | bytearray | memoryview
BLOCK = 1 << 20
"""Bytes that are read at once."""


def make_directory(path: Path) -> None:
    """Create a directory, and missing parents."""
    path.mkdir(parents=True)


def create(path: Path) -> FileIO:
    """Open a new file to be written, without a buffer. What had its name is removed; a link is not followed."""
    try:
        return FileIO(path, "x")
    except FileExistsError:
        path.unlink()
        return FileIO(path, "x")


def write(stream: FileIO, data: Data) -> None:
    """Write all of `data`; when it fails a part of it may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def truncate(stream: FileIO, size: int) -> None:
    """Truncate a file to `size` bytes, to append there."""
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


def open_plain(path: str | Path, flags: int) -> int:
    """A descriptor for a regular file, from `os.open`.

    Raises:
        OSError: Also for a link when it is to be written, and for a pipe or a device.
    """
    own = getattr(os, "O_NOFOLLOW", 0) if flags & (os.O_WRONLY | os.O_RDWR) else 0
    try:
        descriptor = os.open(path, flags | own | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if own and os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a link to elsewhere", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return descriptor


def append(path: Path) -> FileIO:
    """Open a file to be written at its end, without a buffer; it is created if missing."""
    return FileIO(path, "a", opener=open_plain)


def read(path: Path, limit: int | None = None) -> bytes:
    """The contents of a regular file.

    Args:
        path: The file; a link to one is followed.
        limit: More bytes than this are an `OSError`.
    """
    with FileIO(path, "r", opener=open_plain) as stream:
        if limit is not None and os.fstat(stream.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit:,} bytes", str(path))
        return stream.readall()


def blocks(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The contents of a regular file, in chunks.

    Args:
        path: The file; a link to one is followed.
        size: Only so many of its first bytes.
    """
    with FileIO(path, "r", opener=open_plain) as stream:
        left = os.fstat(stream.fileno()).st_size if size is None else size
        while left > 0 and (block := stream.read(min(left, BLOCK))):
            left -= len(block)
            yield block


def whole_lines(path: Path) -> int:
    """How many bytes of a plain file are whole lines."""
    with FileIO(path, "r", opener=open_plain) as stream:
        end = stream.seek(0, os.SEEK_END)
        while end:
            start = stream.seek(max(0, end - BLOCK))
            if place := stream.read(end - start).rfind(b"\n") + 1:
                return start + place
            end = start
    return 0


def make_own_folder(path: Path) -> None:
    """Create a folder inside a run directory, if it is missing.

    Raises:
        OSError: Also if it is a link: files must stay in the run directory.
    """
    if not os.path.lexists(path):
        make_directory(path)
    elif path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link to elsewhere", str(path))
    elif not path.is_dir():
        raise OSError(errno.ENOTDIR, "it is not a folder", str(path))


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
    """Remove a file, or a directory with its contents."""
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.iterdir()):
            remove_tree(inner)
    remove(path)


def write_atomically(file: Path, content: str | bytes) -> None:
    """Replace a file atomically: after a crash it is either the old or the new one.

    Raises:
        SaveError: When it cannot be written.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        write_file(temporary, [content.encode() if isinstance(content, str) else content])
        rename(temporary, file)
        sync_directory(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SaveError(f"cannot write {file}: {error.strerror}") from error
