"""Text on its way to a terminal.

Names, summaries, messages and manifests come from plugins, files and folders of other people. Control sequences are
made visible instead of being sent, also in logs, which people read in a terminal, too.
"""

from __future__ import annotations

import os
import re
from typing import TextIO

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, marks that change the direction of writing, and bytes that are not
UTF-8."""
_BREAKING = re.compile(rf"[\t\n]|{_STEERING.pattern}")


def visible(text: str, *, line: bool = False) -> str:
    r"""The text with control characters written as ``\u001b``, as JSON, TOML and Python write them.

    Args:
        text: The text; wide characters and emojis stay as they are.
        line: Whether it must stay on one line: tabs and newlines are escaped, too.
    """
    if text.isascii() and text.isprintable():
        return text
    return (_BREAKING if line else _STEERING).sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def message(text: str) -> str:
    """A message made visible; lines after the first are indented, so that none looks like a separate message."""
    first, *more = visible(text).split("\n")
    return "\n".join([first, *(one if one.startswith(" ") or not one else f"  {one}" for one in more)])


def plural(number: int, noun: str) -> str:
    """``1 epoch``, ``1,000 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``0.4 ms``, ``81 ms``, ``1.2 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def is_live(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which lines can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")
