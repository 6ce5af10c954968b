"""Statistics of a few repeats: means, their confidence intervals, and paired differences.

Intervals are Student's t: for the mean of n numbers, mean ± t(0.975, n - 1) · s / √n with the standard deviation s
(n - 1). A paired difference is such a mean over the differences repeat by repeat. See W. S. Gosset, "The probable error
of a mean", Biometrika 6 (1908). Among several differences some exclude 0 from their intervals by chance, so a verdict
is final only if it holds at 5 % for all of them together; see S. Holm, "A simple sequentially rejective multiple test
procedure", Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

CONFIDENCE = 0.95

Verdict = Literal["better", "worse", "higher", "lower", "better?", "worse?", "higher?", "lower?", "tie", "unknown"]
"""With a question mark: the interval excludes 0, but among so many differences that may be chance."""
DOUBTFUL: dict[Verdict, Verdict] = {
    "better": "better?",
    "worse": "worse?",
    "higher": "higher?",
    "lower": "lower?",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean and its 95 % confidence interval."""

    mean: float
    half_width: float | None
    """Half of the interval's width; None for a single number."""
    num: int
    """The number of values."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of paired differences, and its verdict."""

    estimate: Estimate
    verdict: Verdict
    p: float | None = None
    """P-value of the two-sided paired t test; None if unknown."""
    holm_p: float | None = None
    """`p` adjusted for the other differences by Holm's method."""
    why: str = ""
    """Why the verdict is "unknown"."""


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and confidence interval of one or more finite numbers."""
    num, mean = len(values), statistics.fmean(values)
    if num < 2:
        return Estimate(mean=mean, half_width=None, num=num)
    return Estimate(mean=mean, half_width=quantile(num - 1) * statistics.stdev(values) / math.sqrt(num), num=num)


def difference(
    values: Sequence[float], reference: Sequence[float], *, larger_is_better: bool | None = None
) -> Difference:
    """The mean of ``values - reference``, repeat by repeat.

    Args:
        values: One number per repeat.
        reference: The numbers of the same repeats in the reference row.
        larger_is_better: The direction of the figure, which turns "higher" and "lower" into "better" and "worse".

    Returns:
        The difference with its verdict: "tie" if its interval contains 0, "unknown" if there is no interval or
        it has no width because every repeat differs by the same number, as happens to figures that count few
        samples.
    """
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    found = estimate(differences)
    if found.half_width is None:
        return Difference(estimate=found, verdict="unknown", why="a single pair of runs has no interval")
    if found.mean and found.half_width <= 1e-9 * max(map(abs, (*values, *reference))):
        why = f"all {found.num} repeats differ by the same number, so the interval has no width"
        return Difference(estimate=found, verdict="unknown", why=why)
    p = _p_value(found)
    if abs(found.mean) <= found.half_width:
        return Difference(estimate=found, verdict="tie", p=p, holm_p=p)
    return Difference(estimate=found, verdict=_verdict(found.mean > 0, larger_is_better), p=p, holm_p=p)


def together(differences: Sequence[Difference]) -> list[Difference]:
    """Judge several differences together: verdicts that are not significant by Holm's method get a question mark.

    Args:
        differences: From `difference`; unknown ones are returned unchanged and do not count.
    """
    known = {number: one.p for number, one in enumerate(differences) if one.p is not None}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return [
        replace(one, holm_p=adjusted[number], verdict=_doubted(one.verdict, adjusted[number]))
        if number in adjusted
        else one
        for number, one in enumerate(differences)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that the chance of any false one among those up to 0.05 is at most 5 %."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def _verdict(higher: bool, larger_is_better: bool | None) -> Verdict:
    if larger_is_better is None:
        return "higher" if higher else "lower"
    return "better" if higher == larger_is_better else "worse"


def _doubted(verdict: Verdict, p: float) -> Verdict:
    return DOUBTFUL.get(verdict, verdict) if p > 1 - CONFIDENCE else verdict


def _p_value(found: Estimate) -> float:
    from scipy.special import stdtr  # type: ignore[import-untyped]  # untyped

    if not found.half_width:
        return 1.0  # every difference is 0
    statistic = abs(found.mean) / found.half_width * quantile(found.num - 1)
    return float(2 * stdtr(found.num - 1, -statistic))


def quantile(degrees_of_freedom: int) -> float:
    """Factor on the standard error: the 0.975 quantile of Student's t."""
    from scipy.special import stdtrit  # here and above: importing scipy.stats takes three times as long

    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
