"""The grid of a comparison, from options such as ``optimizer=adam,sgd``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from wf.declarations.kinds import KINDS
from wf.errors import UsageError

PAIRS = {"[": "]", "{": "}", "(": ")"}


def parse_vary(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse ``KEY=VALUE,VALUE``; a comma inside brackets, braces or quotes belongs to its value.

    Args:
        text: From the command line: ``optimizer=adam,sgd``, ``model.hidden=[64],[64, 64]``.

    Returns:
        The key, with ``_`` for ``-``, and its values.

    Raises:
        UsageError: If the key or values are missing, or a value is repeated.
    """
    key, _, values = text.partition("=")
    parts = [part.strip() for part in split_values(values, text)]
    if not key.strip() or not all(parts):
        raise UsageError(f"--vary {text}: write KEY=VALUE,VALUE, for example --vary optimizer=adam,sgd")
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is not None:
        raise UsageError(f"--vary {text}: {twice} is given twice")
    return key_of(key), tuple(parts)


def points(varied: Sequence[tuple[str, Sequence[str]]]) -> list[dict[str, str]]:
    """Every combination of values, the first key varying slowest; one empty point if nothing is varied.

    Raises:
        UsageError: If a key is varied twice.
    """
    keys = [key for key, _ in varied]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UsageError(f"--vary {twice} is given twice\n  give its values in one list: --vary {twice}=A,B")
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(values for _, values in varied))]


def name_of(point: Mapping[str, object]) -> str:
    """The name of a row: ``adam``, ``adam, lr 0.1``."""
    return ", ".join(str(value) if key in KINDS else f"{_last(key)} {value}" for key, value in point.items())


def folder_names(names: Iterable[str]) -> list[str]:
    """A folder name per row, unique even on case-insensitive file systems."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:60] or "row"
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        taken = {other.lower() for other in found}
        found.append(next(other for other in numbered if other.lower() not in taken))
    return found


def key_of(text: str) -> str:
    """Normalize a key for run files: ``_`` in general keys and options; names of kinds, hooks and paths unchanged."""
    *head, last = text.strip().split(".")
    if not head and last in KINDS:
        return last
    return ".".join([*head, last.replace("-", "_")])


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def split_values(text: str, whole: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, closing, quote = [""], "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in PAIRS:
            closing += PAIRS[char]
        elif closing and char == closing[-1]:
            closing = closing[:-1]
        elif char == "," and not closing:
            parts.append("")
            continue
        parts[-1] += char
    if closing or quote:
        raise UsageError(f"--vary {whole}: {(closing or quote)[-1]} is missing")
    return parts
