"""Human-readable numbers and durations."""

from __future__ import annotations

from typing import Any


def figure(value: float) -> str:
    """Four significant digits, or integers: ``0.4120``, ``1764``, ``29411``, ``1.128e+11``."""
    if isinstance(value, int):
        return str(value)
    if 999.95 <= abs(value) < 999999.5:
        return f"{value:.0f}"
    if value == 0 or 1e-4 <= abs(value) < 1000:
        return f"{value:#.4g}"
    return f"{value:.3e}"


def cell_of(value: Any) -> str:
    """A figure in a table; a dash for a missing one."""
    return figure(value) if isinstance(value, (int, float)) else "-"


def rate(per_second: float) -> str:
    """``831 steps/s``, ``4.2 steps/s``, ``2.5 s/step``."""
    if per_second >= 99.95:
        return f"{per_second:.0f} steps/s"
    if per_second >= 1:
        return f"{per_second:.1f} steps/s"
    return f"{1 / per_second:.1f} s/step"
