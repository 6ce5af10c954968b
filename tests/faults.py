"""A hook that makes the disk fail or the process end at one of the operations of `wf_storage.files`.

``WF_FAULT`` has the fault and its place, ``ACTION:THREAD:NUMBER``. The operations of the main thread and of background
threads are counted separately, so that a number means the same in each run. Operations are written to
``WF_OPERATIONS``, a line each, and the places of the reported checkpoints to ``WF_TOLD``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wf_storage import files

OPERATIONS = ("make_directory", "create", "write", "truncate", "sync", "rename", "remove")
"""All that `wf_storage.files` does to the disk."""


class Tell:
    """Records the checkpoints that are reported as durable."""

    def on_checkpoint_end(self, run: Any, place: str) -> None:
        _append("WF_TOLD", place)


class Fault:
    """One fault of a process.

    Args:
        action: ``kill``, ``power`` or ``power-data`` (see `Unsynced`), or the name of an error; with a ``+`` behind it
            all operations from then on fail, as with a full disk.
        thread: ``main`` or ``background``.
        number: Which of the thread's operations, from 1 on.
    """

    def __init__(self, action: str, thread: str, number: int) -> None:
        self.action, self.place = action, (thread, number)
        self.counts: Counter[str] = Counter()
        self.happened = False
        self.unsynced = Unsynced(names=action == "power")
        self.power = threading.RLock()
        """It fails for all threads at once: none syncs what is being lost."""

    def install(self) -> None:
        """Replace the operations of `wf_storage.files`."""
        for name in OPERATIONS:
            setattr(files, name, self._faulty(name, getattr(files, name)))

    def _faulty(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            thread = "main" if threading.current_thread() is threading.main_thread() else "background"
            self.counts[thread] += 1
            _append("WF_OPERATIONS", f"{thread} {name}")
            with self.power if self.action.startswith("power") else contextlib.nullcontext():
                if (thread, self.counts[thread]) == self.place or (self.happened and self.action.endswith("+")):
                    self.happened = True
                    self._happen(name, real, args)
                if self.action.startswith("power"):
                    self.unsynced.note(name, args)
                return real(*args)

        return call

    def _happen(self, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if name == "write":  # a part of the data is written
            real(args[0], args[1][: len(args[1]) // 2])
        if self.action.startswith("power"):
            self.unsynced.lose()
        if self.action in ("kill", "power", "power-data"):
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.action.rstrip("+"))
        raise OSError(number, os.strerror(number))


class Unsynced:
    """The changes that were not synced, which a disk may lose when the power fails.

    Args:
        names: Whether names of files and directories that were not synced are lost, too; without, only data are, as on
            a file system that writes names early and data late.
    """

    def __init__(self, *, names: bool) -> None:
        self.names = names
        self.data: dict[int, tuple[int, int]] = {}
        """By inode a descriptor and the length that is safe."""
        self.undo: list[tuple[Path, Callable[[], None]]] = []
        """What takes back each new name, and the directory that it is in."""

    def note(self, name: str, args: tuple[Any, ...]) -> None:
        """Note an operation before it happens."""
        if name == "sync":
            self._synced(args[0])
        elif name in ("write", "truncate"):
            self._written(args[0].fileno(), args[1] if name == "truncate" else None)
        elif name == "rename":
            self._renamed(*args)
        elif name in ("create", "make_directory") and not args[0].exists():
            gone = args[0].rmdir if name == "make_directory" else args[0].unlink
            self.undo.append((args[0].parent, gone))

    def lose(self) -> None:
        """Lose it."""
        for descriptor, size in self.data.values():
            os.ftruncate(descriptor, size)
        for _, undo in reversed(self.undo) if self.names else ():
            with contextlib.suppress(OSError):  # it was removed meanwhile, or has files whose names were synced
                undo()

    def _synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self.undo = [(folder, undo) for folder, undo in self.undo if folder.resolve() != place]
        else:
            self.data.pop(status.st_ino, None)

    def _written(self, descriptor: int, size: int | None) -> None:
        status = os.fstat(descriptor)
        kept, safe = self.data.get(status.st_ino, (-1, status.st_size))
        self.data[status.st_ino] = (os.dup(descriptor) if kept < 0 else kept, safe if size is None else min(safe, size))

    def _renamed(self, old: Path, new: Path) -> None:
        replaced = new.read_bytes() if new.is_file() else None

        def undo() -> None:
            os.rename(new, old)
            if replaced is not None:
                new.write_bytes(replaced)

        self.undo.append((new.parent, undo))


def _append(variable: str, line: str) -> None:
    if place := os.environ.get(variable):
        with open(place, "a") as file:
            file.write(f"{line}\n")


if "WF_FAULT" in os.environ:
    _action, _thread, _number = os.environ["WF_FAULT"].split(":")
    Fault(_action, _thread, int(_number)).install()
