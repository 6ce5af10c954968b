"""Torch's own threads, which communicate with other processes."""

from __future__ import annotations

import time
from pathlib import Path

GLOO = "pt_gloo_runloop"
"""The name of the threads that carry out collectives on the CPU."""
_ASK_SEC = 0.002
_NUM_IDLE = 3


def wait_until_idle(name: str = GLOO, at_most_sec: float = 2.0) -> None:
    """Wait until all threads of this name sleep; where the system does not tell, for a moment.

    A thread of gloo drops the tensors of a collective after the collective is done, and needs Python's lock for it. If
    Python is ending by then, the thread aborts the process ("terminate called without an active exception"), although
    all work is done. Each pause here lets threads have the lock.

    Args:
        name: The name of the threads.
        at_most_sec: How long to wait for threads that do not come to rest.
    """
    until, idle = time.monotonic() + at_most_sec, 0
    while idle < _NUM_IDLE and time.monotonic() < until:
        time.sleep(_ASK_SEC)
        idle = 0 if _is_any_running(name) else idle + 1


def _is_any_running(name: str) -> bool:
    for task in Path("/proc/self/task").glob("*/stat"):
        try:
            words, _, rest = task.read_text().rpartition(")")
        except OSError:  # the thread has ended
            continue
        if words.partition("(")[2] == name and rest.split()[0] != "S":
            return True
    return False
