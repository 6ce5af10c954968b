"""Names of shards: brace patterns and wildcards."""

from __future__ import annotations

import itertools
import re

from wf.errors import DataError, UsageError
from wf_datasets.remote import has_pattern, listed

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def shards_of(pattern: str) -> list[str]:
    """The shards that a pattern stands for: ``train-{000..099}.tar``, ``{a,b}.tar``, ``*.tar``.

    Raises:
        DataError: When a wildcard finds nothing, or a shard is named twice.
        UsageError: For braces that are no pattern.
    """
    names = expanded(pattern)
    found = [url for name in names for url in (listed(name) if has_pattern(name) else [name])]
    if len(set(found)) < len(found):
        twice = next(url for url in found if found.count(url) > 1)
        raise DataError(f"'{pattern}' names '{twice}' twice: its samples would be trained on twice an epoch")
    return found


def expanded(pattern: str) -> list[str]:
    """The names that braces stand for, in their order, as a shell expands them.

    Raises:
        UsageError: For braces that are no pattern.
    """
    parts = _BRACES.split(pattern)
    if any(sign in part for part in parts[::2] for sign in "{}"):
        raise UsageError(f"'{pattern}': a brace without its other half, or braces within braces")
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
    raise UsageError(f"'{pattern}': {{{inside}}} is no pattern\n  a range is {{000..099}}, a choice {{a,b}}")
