"""Conditions on runs: ``--where optimizer.lr=0.1 --where 'test/accuracy>0.9'``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wf.errors import UsageError, unknown
from wf_watch.reading import Listed

FIELDS = ("name", "status", "dataset", "model", "loss", "optimizer", "started")
"""The fields of a run that a condition may use, besides settings and figures."""
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A name, a comparison and a value."""

    name: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read ``optimizer.lr=0.1``, ``loss!=ce``, ``test/accuracy>0.9``, ``name=long-*``.

        Raises:
            UsageError: For anything else.
        """
        match = re.fullmatch(r"\s*([^=<>!\s]+)\s*(!=|>=|<=|=|>|<)\s*(.+?)\s*", text)
        if not match:
            raise UsageError(
                f"--where {text}: write a name, =, !=, <, <=, > or >=, and a value, such as 'test/accuracy>0.9'"
            )
        return cls(name=match[1], sign=match[2], value=match[3])

    def holds(self, run: Listed) -> bool:
        """Whether a run meets it; a run without such a value meets only ``!=``."""
        found = value_of(run, self.name)
        if self.sign in ("=", "!="):
            return _equal(found, self.value) == (self.sign == "=")
        if found is None:
            return False
        one, other = _number(found), _number(self.value)
        order = _ORDERS[self.sign]
        if one is not None and other is not None:
            return order(one, other)
        return order(str(found), self.value)


def value_of(run: Listed, name: str) -> Any:
    """A field, a setting or a figure of a run; None if it has none of that name."""
    if name in FIELDS:
        return getattr(run, name)
    return run.settings.get(name, run.figures.get(name))


def chosen(runs: Sequence[Listed], conditions: Sequence[str]) -> list[Listed]:
    """The runs that meet every condition.

    Raises:
        UsageError: For a condition that cannot be read, or on a name that no run has.
    """
    found = [Condition.parse(text) for text in conditions]
    known = {*FIELDS, *(name for run in runs for name in (*run.settings, *run.figures))}
    for condition in found if runs else ():
        if condition.name not in known:
            raise UsageError(unknown("name in --where:", condition.name, known))
    return [run for run in runs if all(condition.holds(run) for condition in found)]


def _equal(found: Any, wanted: str) -> bool:
    one, other = _number(found), _number(wanted)
    if one is not None and other is not None:
        return one == other
    text = {"None": "null", "True": "true", "False": "false"}.get(str(found), str(found))
    return fnmatchcase(str(text), wanted)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
