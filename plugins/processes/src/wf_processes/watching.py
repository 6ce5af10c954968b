"""A thread in each process of a run: it says where the process is, and ends one that hangs after another failed."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from wf_processes.together import is_launched

POLL_SEC = 0.5
END_SEC = 10.0
"""Seconds that a process has to end by itself after another one failed."""
_LIBRARIES = (str(Path(torch.__file__).parent), sysconfig.get_path("stdlib"))


class Watcher:
    """Answers the other processes, until it is closed.

    Args:
        store: A connection of its own to the board.
        rank: The rank of this process.
    """

    def __init__(self, store: Any, rank: int) -> None:
        self._store, self._rank = store, rank
        self._closed = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="wf-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join(END_SEC)

    def _watch(self) -> None:
        code = None
        while code is None:
            if self._closed.wait(POLL_SEC):
                return
            code = self._code()
        if not self._closed.wait(END_SEC):
            self._say_why()
            os._exit(code)

    def _say_why(self) -> None:
        """Print why this process is ended. The one that failed need not have said so: a script may catch the error."""
        if is_launched():
            return
        with suppress(Exception):  # the board is gone
            said = json.loads(self._store.get("failed"))
            print(
                f"wf: process {said['rank']} {said['text']}\n  process {self._rank} waited for it and is ended",
                file=sys.stderr,
                flush=True,
            )

    def _code(self) -> int | None:
        """Report this process's position if asked. Returns the exit code of the run if another process has failed."""
        try:
            if self._store.check(["who"]):
                self._store.set(f"at/{self._rank}", place_of(sys._current_frames().get(self._watched)))
            failed = self._store.check(["failed"])
            return (int(json.loads(self._store.get("failed"))["code"]) or 1) if failed else None
        except Exception:  # the board is gone, and with it the process that held it
            return 1


def place_of(frame: FrameType | None) -> str:
    """The position of a thread in the innermost code that is not of a library: ``net.py:12, in forward``."""
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    if frame is None:
        return "at an unknown place"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}, in {frame.f_code.co_name}"


def collective_of(error: BaseException) -> str:
    """The collective in which a process waited, from the traceback of its error."""
    names, traceback = [], error.__traceback__
    while traceback is not None:
        names.append((Path(traceback.tb_frame.f_code.co_filename).name, traceback.tb_frame.f_code.co_name))
        traceback = traceback.tb_next
    for file, name in reversed(names):
        if file == "distributed_c10d.py":
            return name
        if name == "_engine_run_backward":
            return "all_reduce of the gradients"
        if name == "_sync_buffers":
            return "broadcast of the buffers"
    return "next collective"
