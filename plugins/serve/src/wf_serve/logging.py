"""Logs one line per request."""

from __future__ import annotations

import time
import traceback
from typing import Any

from wf.terminal import plural
from wf_cli.output import tell


class OneLine:
    """Passes requests on, and logs each on one line: client, method, path, status, records, time.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status) if message["type"] == "http.response.start" else status
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            tell(traceback.format_exc().rstrip())
        finally:
            client = scope["client"][0] if scope.get("client") else "-"
            num = scope.get("wf.records")
            records = "" if num is None else f"  {plural(num, 'record')}"
            path = ascii(scope["path"])[1:-1]
            tell(
                f"{client}  {scope['method']} {path}  {status}{records}  {(time.perf_counter() - begin) * 1000:.1f} ms"
            )
