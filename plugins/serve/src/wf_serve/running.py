"""Run the server until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

GRACE_SEC = 10
"""How long running requests may take when the server stops."""


class _Server(uvicorn.Server):
    """Stops cleanly on SIGINT and SIGTERM, whereas uvicorn raises the signal again."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the signals stop the server; the previous handlers are restored."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report it."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def run(app: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: The application.
        listening: Has its address.
        ready: Called once requests are answered.
    """
    config = uvicorn.Config(
        app, access_log=False, log_level="error", timeout_graceful_shutdown=GRACE_SEC, server_header=False
    )
    _Server(config, ready).run(sockets=[listening])
