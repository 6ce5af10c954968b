"""Comparing the records of two runs, figure by figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from wf.engine.figures import POSITION


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure in the records of two runs."""

    event: str
    """``train`` or ``eval``."""
    split: str
    name: str
    records: int
    """The number of records of the first run that have it."""
    first_step: int | None
    """The step of the first record in which it differs, or is missing from one of the runs; None if equal."""
    largest: float | None
    """The largest difference of two numbers; None if no difference is finite."""

    @property
    def equal(self) -> bool:
        """Whether it is the same in every record."""
        return self.first_step is None


def compare_records(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Each figure of the records of two runs, in order of appearance."""
    old, new = _series(before), _series(after)
    return [_figure(*key, old.get(key, []), new.get(key, [])) for key in dict.fromkeys((*old, *new))]


Point = tuple[int, int, Any]
"""Epoch, step and value."""


def _series(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[Point]]:
    """The values of each figure by event, split and name, one per record."""
    found: dict[tuple[str, str, str], list[Point]] = {}
    for record in records:
        for name, value in record.items():
            if name not in POSITION:
                point = (record.get("epoch", 0), record.get("step", 0), value)
                found.setdefault((record.get("event", ""), record.get("split", ""), name), []).append(point)
    return found


def _figure(event: str, split: str, name: str, old: Sequence[Point], new: Sequence[Point]) -> Figure:
    pairs = list(zip_longest(old, new))
    differing = [(one, other) for one, other in pairs if one != other]
    first = differing[0] if differing else None
    apart = [gap for one, other in differing if one and other for gap in _apart(one[2], other[2])]
    return Figure(
        event=event,
        split=split,
        name=name,
        records=len(old),
        first_step=min(point[1] for point in first if point) if first else None,
        largest=max(apart) if apart else None,
    )


def _apart(one: Any, other: Any) -> Iterator[float]:
    """The differences of numbers, or of lists item by item."""
    if isinstance(one, list) and isinstance(other, list):
        for left, right in zip(one, other, strict=False):
            yield from _apart(left, right)
    elif isinstance(one, (int, float)) and isinstance(other, (int, float)):
        yield abs(one - other)
