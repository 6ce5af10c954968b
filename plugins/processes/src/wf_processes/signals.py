"""SIGINT, SIGTERM, SIGHUP and SIGUSR1: the first stops a run cleanly. Before a run begins SIGINT ends the command."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that stop a run: from the keyboard, from a scheduler, from a closed terminal, and the one that batch
systems send before the time is over."""
INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a command ended by SIGINT."""
IMPORT_SEC = 3.0
"""How long an interruption waits for the end of an import."""
_ASK_SEC = 0.02
_IMPORTING = "<frozen importlib._bootstrap>"


class Interruption:
    """The handler of SIGINT for a command: raises KeyboardInterrupt, but not inside an import.

    An exception in the middle of an import can crash Python, be swallowed, or leave half a module behind, so it is
    raised when the import is over. A second SIGINT, or a long import, ends the process at once.

    Made by the main thread.

    Args:
        tell: Called before the process is ended inside an import.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell, self._since, self._asks_again = tell, 0.0, False
        self._main = threading.get_ident()

    def install(self) -> None:
        """Handle SIGINT, unless it is ignored or somebody else handles it.

        Raises:
            KeyboardInterrupt: If one has waited for this, see `held_back`.
        """
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, or look again whether the import is over."""
        again, self._asks_again = self._asks_again, False
        if not _is_importing(frame):
            self._since = 0.0
            raise KeyboardInterrupt
        if self._since and (not again or time.monotonic() - self._since > IMPORT_SEC):
            self._tell()
            os._exit(INTERRUPTED)
        self._since = self._since or time.monotonic()
        _thread.start_new_thread(self._ask_again, ())

    def _ask_again(self) -> None:
        time.sleep(_ASK_SEC)
        self._asks_again = True
        if sys.platform == "win32":
            _thread.interrupt_main()
        else:  # a signal, so that the main thread does not sleep on
            signal.pthread_kill(self._main, signal.SIGINT)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def end_quietly() -> None:
    """Let a SIGINT from now on end the process at once: its work is done."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


@contextmanager
def held_back() -> Iterator[None]:
    """Let processes that are started here receive SIGINT only when they `Interruption.install` their handler."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heeded() -> list[signal.Signals]:
    """Those of `STOPPING` that are heeded: an ignored SIGHUP, as under nohup, stays ignored."""
    return [one for one in STOPPING if one.name != "SIGHUP" or signal.getsignal(one) != signal.SIG_IGN]


@contextmanager
def signals_stop(end: Callable[[str], None], *, at_once: bool) -> Iterator[list[signal.Signals]]:
    """Let the first of `STOPPING` call `end` with the reason; a SIGINT after it raises KeyboardInterrupt.

    A later SIGTERM is ignored: schedulers send several. With several processes `at_once` is False and every later
    signal is ignored: the process that started them forwards to each a signal that may have been sent to all of them,
    and ends them itself after a second one.
    """
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, _frame: Any) -> None:
        received.append(signal.Signals(number))
        if len(received) == 1:
            end(f"{received[0].name} received")
        elif at_once and number == signal.SIGINT:
            raise KeyboardInterrupt("a second signal ended the run at once")

    before = {number: signal.signal(number, stop) for number in heeded()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
