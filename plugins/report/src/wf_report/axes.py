"""Axes of charts: the positions of values and of tick labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps values from `low` to `high` to positions from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool = False

    @classmethod
    def of(cls, ends: tuple[float, float], begin: float, end: float, *, is_log: bool = False) -> Axis:
        """An axis over some values; a single value gets room around it."""
        low, high = ends
        if low == high:
            low, high = (low / 2, high * 2) if is_log else (low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1))
        return cls(low=low, high=high, begin=begin, end=end, is_log=is_log)

    @classmethod
    def around(cls, values: Sequence[float], begin: float, end: float) -> Axis:
        """An axis with room at both ends."""
        low, high = min(values), max(values)
        room = 0.06 * (high - low)
        return cls.of((low - room, high + room), begin, end)

    def __call__(self, value: float) -> float:
        """The position of a value."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round values, about `most` of them at most."""
        if self.is_log and self.high / self.low > 10:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            step = max(1, math.ceil((last - first) / most))
            decades = [10.0**power for power in range(first, last + 1, step)]
            return [value for value in decades if self.low <= value <= self.high]
        raw = (self.high - self.low) / most
        power = 10 ** math.floor(math.log10(raw))
        step = next(power * one for one in STEPS if power * one >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        found = []
        while first * step <= self.high + step * 1e-9:
            found.append(0.0 if first == 0 else float(f"{first * step:.10g}"))
            first += 1
        return found
