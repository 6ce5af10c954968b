"""``python -m wf_cli`` is ``wf``."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

from wf_cli.main import INTERRUPTED, main


def process() -> NoReturn:
    """Run this process's command line, and end the process."""
    try:
        main()
    except SystemExit as end:
        if "torch" in sys.modules and not (sys.getprofile() or sys.gettrace()):  # these write when Python ends
            _leave(end.code if isinstance(end.code, int) else 0)
        raise
    raise AssertionError("main() ends by SystemExit")


def _leave(code: int) -> NoReturn:
    """End the process as Python does, without taking the interpreter down.

    Threads of torch outlive their work, and one that wakes while the interpreter is taken down aborts the process
    ("terminate called without an active exception") after all its work is done. A run that was interrupted has waited
    for its threads, or was told a second time not to.
    """
    if code != INTERRUPTED:
        threading._shutdown()  # type: ignore[attr-defined]  # ends the threads of idle executors and waits for all
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    process()
