"""``--max-time 8h``: the run saves and ends before a batch system would kill it, and can be resumed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wf.errors import InterruptedRun, UsageError

UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
"""The seconds of each unit."""
EXIT_CODE = 6
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(sorted(UNITS, key=len, reverse=True))})")


class TimeLimitReached(InterruptedRun):
    """The run's time limit was reached; a checkpoint was committed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)
        self.exit_code = EXIT_CODE


def seconds_of(text: str) -> float:
    """The seconds of a time such as ``8h``, ``90min`` or ``1d12h``.

    Raises:
        UsageError: For an invalid or zero time.
    """
    parts = _PART.findall(text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(text.split()) != "".join(number + unit for number, unit in parts) or seconds <= 0:
        raise UsageError(f"max_time must be a time, such as 8h, 90min, 1d12h or 30s, not '{text}'")
    return seconds


@contextmanager
def limited(text: str | None, stop: Callable[[str], bool]) -> Iterator[Callable[[], bool]]:
    """Call `stop` with the reason when the time is up, from a thread.

    Args:
        text: The time, counted from now on; None for no limit.
        stop: Ends the run after its present step; returns False if there is nothing to end.

    Returns:
        Whether the run was ended.
    """
    reached = threading.Event()
    if text is None:
        yield reached.is_set
        return

    def end() -> None:
        if stop(f"max_time {text} is over"):
            reached.set()

    timer = threading.Timer(min(seconds_of(text), threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield reached.is_set
    finally:
        timer.cancel()
