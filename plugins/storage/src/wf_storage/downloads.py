"""Downloads by other libraries."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_SEC = 30.0
"""How long a download waits for an answer."""


@contextmanager
def timeout(seconds: float = TIMEOUT_SEC) -> Iterator[None]:
    """Set a timeout for sockets: torch and torchvision have none, so a silent network would block a run forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
