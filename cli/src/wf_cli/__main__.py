"""``python -m wf_cli`` is ``wf``."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

from wf_cli.main import INTERRUPTED, main


def process() -> NoReturn:
    """Run the command line of this process, then end the process."""
    try:
        main()
    except SystemExit as end:
        if "torch" in sys.modules and not (sys.getprofile() or sys.gettrace()):  # these write their output at exit
            _leave(end.code if isinstance(end.code, int) else 0)
        raise
    raise AssertionError("main() always raises SystemExit")


def _leave(code: int) -> NoReturn:
    """End the process as Python does, but without finalizing the interpreter.

    Torch's threads outlive their work, and one that wakes up during finalization aborts the process
    ("terminate called without an active exception") although all work is done. An interrupted run has waited
    for its threads, or was told by a second signal not to.
    """
    if code != INTERRUPTED:
        threading._shutdown()  # type: ignore[attr-defined]  # stops idle executor threads and waits for all threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    process()
