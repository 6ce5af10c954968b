"""The process of a command: its interruption, and its end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from wf_cli.main import tell_interrupted
from wf_processes.signals import INTERRUPTED, Interruption, end_quietly


def run_process(main: Callable[[], object]) -> NoReturn:
    """Run a command in this process, then end the process.

    Args:
        main: Returns, or raises SystemExit with an exit code.
    """
    try:
        Interruption(tell_interrupted).install()
        limit_spinning()
        main()
        sys.exit()
    except KeyboardInterrupt:  # before main() has begun
        tell_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        end_quietly()
        if "torch" in sys.modules and not (sys.getprofile() or sys.gettrace()):  # these write their output at exit
            _leave(end.code if isinstance(end.code, int) else 0)
        raise


def limit_spinning() -> None:
    """Limit how long idle threads of torch spin before they sleep, unless the user has set it.

    By default a waiting thread spins for so long that it takes CPU time from the threads that it waits for, if all
    cores are busy. OpenMP reads the variable once, when torch is imported. `docs/speed.md` has the figures.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _leave(code: int) -> NoReturn:
    """Exit as Python does, but without finalizing the interpreter.

    Torch's idle threads keep running. A thread that wakes up during finalization aborts the process ("terminate called
    without an active exception"), although all work is done. After an interruption this function does not wait for
    threads: the run has already waited for them, unless a second signal told it not to.
    """
    if code != INTERRUPTED:
        threading._shutdown()  # type: ignore[attr-defined]  # stops idle executor threads and waits for all threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
