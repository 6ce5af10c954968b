"""All writes of a run directory and its checkpoints go through this module.

The first functions are single operations, and all others are built from them. They are called as
``files.rename(...)``, so that a test can replace any of them by a failure or the end of the process. A run directory
may come from somebody else: nothing is written through a link in it, and nothing blocks on a pipe.
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
"""The number of bytes read at once."""


def make_directory(path: Path) -> None:
    """Create a directory, and missing parents."""
    path.mkdir(parents=True)


def create(path: Path) -> FileIO:
    """Open a new file for unbuffered writing. An existing file of that name is removed; a link is not followed."""
    try:
        return FileIO(path, "x")
    except FileExistsError:
        path.unlink()
        return FileIO(path, "x")


def write(stream: FileIO, data: Data) -> None:
    """Write all of `data`; after a failure, part of it may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def truncate(stream: FileIO, size: int) -> None:
    """Truncate a file to `size` bytes, to continue appending there."""
    stream.truncate(size)
    stream.seek(size)


def sync(descriptor: int) -> None:
    """Wait until an open file or directory is on disk."""
    os.fsync(descriptor)


def rename(old: Path, new: Path) -> None:
    """Rename a file or directory; an existing file of the new name is replaced."""
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
        OSError: Also for a link that would be written to, and for a pipe or a device.
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
    """Open a file for unbuffered appending; it is created if missing."""
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
        size: The number of bytes to read, from the start.
    """
    with FileIO(path, "r", opener=open_plain) as stream:
        left = os.fstat(stream.fileno()).st_size if size is None else size
        while left > 0 and (block := stream.read(min(left, BLOCK))):
            left -= len(block)
            yield block


def whole_lines(path: Path) -> int:
    """The number of bytes of a plain file up to the end of its last complete line."""
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
    """Write a file; its content is on disk when this returns, its name after `sync_directory`."""
    with create(path) as stream:
        for piece in pieces:
            write(stream, piece)
        sync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on disk."""
    if os.name == "nt":  # directories cannot be opened there, and renames are durable anyway
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
    """Replace a file atomically: after a crash, either the old or the new content is there.

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
