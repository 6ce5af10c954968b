"""The duration of a command, corrected for the present speed of the machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

REFERENCE = [sys.executable, "-P", "-c", "import click, pluggy, importlib.metadata, packaging.requirements"]
REFERENCE_SEC = 0.085
"""What the reference takes on the machine that the limits are stated for, two cores with nothing else to do."""


def seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """The shortest time of a call after an uncounted first one: other processes only add to it.

    Fresh processes that import the same libraries run in between. If they take longer than on the machine that the
    limits are stated for, the call's time is stated as that machine's.
    """
    times, references = [], []
    for _ in range(repeats + 1):
        times.append(_time(call))
        references.append(_time(lambda: subprocess.run(REFERENCE, check=True)))
    return min(times[1:]) * min(1.0, REFERENCE_SEC / min(references[1:]))


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
