"""The live line on a terminal, drawn by rich."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import rich.live
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_REFRESH_HZ = 8
_MIN_BAR, _MAX_BAR = 8, 30


class Live:
    """A line at the bottom of the terminal, redrawn several times a second by rich's thread.

    Args:
        status: Returns what to show: the position, the fraction done (None if unknown), and further parts.
    """

    def __init__(self, status: Callable[[], tuple[str, float | None, list[str]]]) -> None:
        self._status = status
        self._console = Console(stderr=True, highlight=False)
        self._stderr = sys.stderr
        self._live = rich.live.Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESH_HZ,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # output to a file or pipe stays unchanged
        )
        self._live.start()
        _open.append(self)

    @property
    def width(self) -> int:
        """The terminal's width in columns."""
        return self._console.width

    def print(self, line: str, style: str = "") -> None:
        """Print a permanent line above the live one."""
        self._console.print(Text(line, style), no_wrap=True, overflow="ellipsis")

    def stop(self) -> None:
        """Remove the live line and release the terminal."""
        self._live.stop()
        _open.remove(self)

    def leave_to_parent(self) -> None:
        """In a forked process: write to the terminal directly; the live line belongs to the parent."""
        sys.stderr = self._stderr

    def _render(self) -> RenderableType:
        position, done, parts = self._status()
        texts = [position, "" if done is None else f"{done * 100:3.0f} %", *parts]
        while len(texts) > 3 and self._free(texts) < _MIN_BAR:
            texts.pop(2)  # the loss, then the speed; the time left stays
        bar = ProgressBar(
            total=None if done is None else 1.0,
            completed=done or 0.0,
            width=min(max(self._free(texts), _MIN_BAR), _MAX_BAR),
        )
        line = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(len(texts) + 1):
            line.add_column(no_wrap=True)
        line.add_row(Text(position, style="bold"), bar, *(Text(text) for text in texts[1:]))
        return line

    def _free(self, texts: Sequence[str]) -> int:
        """The columns that are left for the bar."""
        return self.width - sum(len(text) + 2 for text in texts) - 2


_open: list[Live] = []


def _after_fork() -> None:
    for live in _open:
        live.leave_to_parent()


if hasattr(os, "register_at_fork"):
    # a worker process that warns must not wait for rich's lock, which the parent's thread may have held at the fork
    os.register_at_fork(after_in_child=_after_fork)
