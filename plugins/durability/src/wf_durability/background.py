"""Work beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_background(future: Future[Any], work: Callable[[], Any]) -> None:
    """Start `work` in a separate thread; a normal exit waits for it.

    An interrupt that comes before it has begun cancels it.
    """

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="wf-checkpoint").start()
    except BaseException:
        future.cancel()
        raise
