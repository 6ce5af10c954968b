"""A lock on a directory: only one process at a time writes there, and a dead process holds no lock.

The operating system releases the lock of an open file when the process ends, for whatever reason. A forked child, such
as a data loader's worker, inherits open files and with them the lock; it closes them at once, so that the lock ends
with the process that took it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from wf.errors import DataError, UsageError
from wf_storage import files

LOCK = ".lock"
"""The file in a run directory that is locked; it names the holder."""
_MAX_BYTES = 4096
"""The maximum number of bytes in it."""
_PATIENCE_SEC = 0.3
"""How long to try: `is_held` also takes the lock for an instant."""

_held: set[int] = set()
"""The descriptors of this process's locks."""


def _leave_to_the_parent() -> None:
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


@contextmanager
def locked(file: Path, on_wait: Callable[[str], object] | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is created for it and removed afterwards.

    If the file system has no locks, a warning is printed and nothing is held.

    Args:
        file: The file, in an existing directory.
        on_wait: Called once with the holder of the lock; then this waits for it. None refuses instead.

    Raises:
        UsageError: If another process holds it; names the process.
        DataError: If the file cannot be created.
    """
    descriptor = _acquire(file, on_wait)
    try:
        yield
    finally:
        if descriptor in _held:  # otherwise this is a forked child, and the lock belongs to its parent
            if _is_there(descriptor, file):
                with suppress(OSError):  # some systems cannot remove an open file; a leftover file is harmless
                    file.unlink()
            _close(descriptor)


def is_held(file: Path) -> bool | None:
    """Whether a living process holds the lock of a file; None if unknown."""
    try:
        descriptor = files.open_plain(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not _take(descriptor, shared=True)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def refuse_held(directory: Path) -> None:
    """Refuse a run directory in use by a process.

    Raises:
        UsageError: Naming the process.
    """
    if is_held(directory / LOCK):
        raise _in_use(directory / LOCK)


def _acquire(file: Path, on_wait: Callable[[str], object] | None) -> int:
    patience, told = time.monotonic() + _PATIENCE_SEC, False
    while (descriptor := _try(file)) is None:
        if time.monotonic() > patience:
            if on_wait is None:
                raise _in_use(file)
            if not told:
                on_wait(_holder(file))
                told = True
        time.sleep(0.02)
    return descriptor


def _try(file: Path) -> int | None:
    """The descriptor of the locked file; None while another process holds it."""
    try:
        descriptor = files.open_plain(file, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise DataError(f"cannot write {file}: {error.strerror}") from error
    _held.add(descriptor)
    try:
        taken = _take(descriptor)
    except OSError as error:
        taken = True
        logging.getLogger("wf").warning(
            "%s cannot be locked: %s. A second process could write there", file.parent, error.strerror
        )
    if not taken or not _is_there(descriptor, file):  # or its holder has removed it
        _close(descriptor)
        return None
    _introduce(descriptor)
    return descriptor


def _introduce(descriptor: int) -> None:
    """Write who holds the lock, for the messages of others."""
    import socket  # 4 ms, and only runs need it

    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(me).encode() + b"\n")


def _holder(file: Path) -> str:
    """``process 4711 on node3, since 2026-11-21 14:23``."""
    try:
        found = json.loads(files.read(file, _MAX_BYTES))
        since = datetime.fromisoformat(found["started"]).astimezone().strftime("%Y-%m-%d %H:%M")
        return f"process {found['pid']} on {found['host']}, since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"


def _in_use(file: Path) -> UsageError:
    return UsageError(
        f"{file.parent} is in use: {_holder(file)}\n  wait until it ends, or train elsewhere: wf run --name NAME"
    )


def _is_there(descriptor: int, file: Path) -> bool:
    """Whether a descriptor refers to the file that currently has the name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


def _close(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int, *, shared: bool = False) -> bool:
        """Lock an open file; False while another process has it. OSError if the file system has no locks."""
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a locked byte cannot be read, so lock one far behind the text
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _take(descriptor: int, *, shared: bool = False) -> bool:
        """Lock an open file; False while another process has it. OSError if the file system has no locks."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return False
        return True
