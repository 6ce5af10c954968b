"""SIGINT, SIGTERM, SIGHUP and SIGUSR1: the first one stops a run cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that stop a run: from the keyboard, from a scheduler, from a closed terminal, and the one that batch
systems send before the time is over."""


@contextmanager
def signals_stop(end: Callable[[str], None], *, at_once: bool) -> Iterator[list[signal.Signals]]:
    """Let the first of `STOPPING` call `end` with the reason; a SIGINT after it raises KeyboardInterrupt.

    A later SIGTERM is ignored: schedulers send several. With several processes `at_once` is False and every later
    signal is ignored: torchrun forwards to each process a signal that the terminal has already sent to all. An ignored
    SIGHUP, as under nohup, stays ignored.
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

    numbers = [one for one in STOPPING if one.name != "SIGHUP" or signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
