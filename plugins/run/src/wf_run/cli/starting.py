"""The start of a run: faster without garbage collection, and with a message about the current phase."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from wf_cli.output import begin_phase, end_phase


@contextmanager
def uncollected(phase: str = "") -> Iterator[None]:
    """Show on a terminal what is being done, and disable the garbage collector; then freeze the objects created so far.

    It is for the time in which torch is imported and a run is built. Torch's modules are a million objects that stay.
    To look through them over and over takes a fifth of the time that it takes to import them, and to look through them
    again while training would take as long each time.

    Args:
        phase: What is being done: ``loading torch ...``.
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
