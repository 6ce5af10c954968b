"""A quick start: the garbage collector is left out of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave the garbage collector out while torch is imported and a run is built, and what is there then for good.

    Torch's modules are a million objects that stay. To look through them over and over takes a fifth of the time that
    it takes to import them, and to look through them again while training would take as long each time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
