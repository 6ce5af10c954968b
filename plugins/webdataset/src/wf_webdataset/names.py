"""Names of shards: brace patterns and wildcards."""

from __future__ import annotations

import itertools
import re

from wf.errors import DataError, UsageError
from wf_storage.remote import has_pattern, listed

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def shards_of(pattern: str) -> list[str]:
    """Expand a pattern into the names of shards: ``train-{000..099}.tar``, ``{a,b}.tar``, ``*.tar``.

    Raises:
        DataError: If a wildcard matches nothing, or a shard is named twice.
        UsageError: If the braces are invalid.
    """
    names = expanded(pattern)
    found = [url for name in names for url in (listed(name) if has_pattern(name) else [name])]
    if len(set(found)) < len(found):
        twice = next(url for url in found if found.count(url) > 1)
        raise DataError(f"'{pattern}' names '{twice}' twice, so each epoch would use its samples twice")
    return found


def expanded(pattern: str) -> list[str]:
    """Expand braces as a shell does, in the same order.

    Raises:
        UsageError: If the braces are invalid.
    """
    parts = _BRACES.split(pattern)
    if any(sign in part for part in parts[::2] for sign in "{}"):
        raise UsageError(f"'{pattern}': unbalanced or nested braces")
    choices = [[part] if place % 2 == 0 else _choices(part, pattern) for place, part in enumerate(parts)]
    return ["".join(one) for one in itertools.product(*choices)]


def _choices(inside: str, pattern: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = found.groups()
        if int(last) < int(first):
            raise UsageError(f"'{pattern}': the range {{{inside}}} is empty; write it as {{{last}..{first}}}")
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    if "," in inside:
        return inside.split(",")
    raise UsageError(f"'{pattern}': {{{inside}}} is not a pattern\n  write a range {{000..099}} or a choice {{a,b}}")
