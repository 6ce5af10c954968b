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
    limit_spinning()
    try:
        main()
    except SystemExit as end:
        if "torch" in sys.modules and not (sys.getprofile() or sys.gettrace()):  # these write their output at exit
            _leave(end.code if isinstance(end.code, int) else 0)
        raise
    raise AssertionError("main() always raises SystemExit")


def limit_spinning() -> None:
    """Let torch's idle threads sleep soon, unless the user has set how they wait.

    A thread that waits for others spins, by default so long that it takes busy cores from the threads that it waits
    for. OpenMP reads the variable once, when torch is imported. `docs/speed.md` has the figures.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


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
