"""What a command is at: the start of a run, which is faster without garbage collection, and long work after it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wf_cli.output import begin_phase, end_phase


@contextmanager
def uncollected(phase: str = "") -> Iterator[None]:
    """Show the current phase on a terminal, with garbage collection disabled; then freeze the objects created so far.

    For importing torch and building a run. Torch's modules are a million long-lived objects. Scanning them repeatedly
    takes a fifth of the time of importing them, and each scan during training would take as long again.

    Args:
        phase: The current phase: ``loading torch ...``.
    """
    if phase:
        begin_phase(phase)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        end_phase()
        gc.freeze()
        if was_enabled:
            gc.enable()


INTERVAL_SEC = 0.25
"""Seconds between two updates of the progress."""


@contextmanager
def progress_of(words: str, fraction: Callable[[], float | None] = lambda: None) -> Iterator[None]:
    """Show on a terminal what is being done, and how much of it is done.

    Args:
        words: What: ``evaluating test``.
        fraction: How much of it, from 0 to 1; None where nobody knows. Called in a thread.
    """

    def show() -> None:
        while True:
            done = fraction()
            begin_phase(f"{words} ..." if done is None else f"{words} {done:.0%}")
            if over.wait(INTERVAL_SEC):
                return

    over = threading.Event()
    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        end_phase()
