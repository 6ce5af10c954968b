"""Means, intervals and paired differences, against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]  # untyped
from hypothesis import assume, given
from hypothesis import strategies as st

from wf_compare.statistics import Difference, difference, estimate, holm, quantile, together

NUMBERS = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 6))
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=12)


@given(SAMPLES)
def test_interval_agrees_with_scipy(values: list[float]) -> None:
    assume(np.std(values) > 1e-6)
    found = estimate(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert found.interval == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.num == len(values)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12))
def test_paired_difference_agrees_with_scipy(pairs: list[tuple[float, float]]) -> None:
    values, reference = zip(*pairs, strict=True)
    differences = [value - other for value, other in pairs]
    assume(np.std(differences) > 1e-3)
    found = difference(values, reference)
    test = scipy.stats.ttest_rel(values, reference)
    interval = test.confidence_interval(0.95)
    assert found.estimate.interval == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)
    assume(abs(test.pvalue - 0.05) > 1e-6)
    assert found.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
    assert (found.verdict == "tie") == (test.pvalue > 0.05)


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 4, 9, 100])
def test_quantile(degrees_of_freedom: int) -> None:
    assert quantile(degrees_of_freedom) == pytest.approx(scipy.stats.t.ppf(0.975, degrees_of_freedom), rel=1e-12)


def test_coverage() -> None:
    """Of many intervals of five numbers about 95 % hold the true mean."""
    generator = np.random.default_rng(0)
    found = [estimate(sample.tolist()).interval for sample in generator.normal(3.0, 2.0, (2000, 5))]
    share = np.mean([interval is not None and interval[0] <= 3.0 <= interval[1] for interval in found])
    assert 0.935 < share < 0.965


def test_one_repeat_gives_no_verdict() -> None:
    assert estimate([0.5]).interval is None
    found = difference([0.9], [0.5], larger_is_better=True)
    assert found.verdict == "unknown"
    assert found.estimate.mean == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("larger", "up", "down"), [(True, "better", "worse"), (False, "worse", "better"), (None, "higher", "lower")]
)
def test_direction(larger: bool | None, up: str, down: str) -> None:
    high, low = [0.90, 0.91, 0.92], [0.50, 0.52, 0.51]
    assert difference(high, low, larger_is_better=larger).verdict == up
    assert difference(low, high, larger_is_better=larger).verdict == down


def test_equal_rows_are_a_tie() -> None:
    found = difference([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], larger_is_better=True)
    assert (found.verdict, found.estimate.mean, found.estimate.half_width) == ("tie", 0, 0)


@given(st.lists(NUMBERS, min_size=2, max_size=5), st.sampled_from([1 / 270, -1 / 270, 0.1]))
def test_an_interval_of_zero_width_gives_no_verdict(reference: list[float], step: float) -> None:
    found = difference([value + step for value in reference], reference, larger_is_better=True)
    assert found.verdict == "unknown"
    assert "same number" in found.why


def test_pairing_finds_a_difference_hidden_in_the_means() -> None:
    reference = [0.1, 0.5, 0.9]
    values = [0.13, 0.52, 0.925]
    assert difference(values, reference, larger_is_better=True).verdict == "better"
    one, other = estimate(values).interval, estimate(reference).interval
    assert one is not None
    assert other is not None
    assert math.isclose(one[0], other[0], abs_tol=0.05), "the intervals of the means overlap nearly wholly"


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # as R's p.adjust(method = "holm") gives them
        ([0.6, 0.7, 0.02], [1.0, 1.0, 0.06]),
    ],
)
def test_holm(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_at_most_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(
        p <= adjusted <= min(1, len(p_values) * p) + 1e-12 for p, adjusted in zip(p_values, found, strict=True) if p
    )
    order = sorted(range(len(found)), key=p_values.__getitem__)
    assert [found[number] for number in order] == sorted(found)


def test_doubtful_differences_among_several_get_a_question_mark() -> None:
    reference = [0.10, 0.20, 0.30, 0.40]
    clear = difference([1.10, 1.21, 1.32, 1.41], reference, larger_is_better=True)
    close = difference([0.12, 0.23, 0.31, 0.44], reference, larger_is_better=True)
    none = difference([0.10, 0.21, 0.29, 0.40], reference, larger_is_better=True)
    unknown = difference([0.1], [0.3], larger_is_better=True)
    assert [one.verdict for one in (clear, close, none, unknown)] == ["better", "better", "tie", "unknown"]
    assert verdicts(together([clear, none])) == ["better", "tie"]
    assert verdicts(together([close, unknown])) == ["better", "unknown"], "unknown differences do not count"
    assert verdicts(together([clear, close, none, unknown])) == ["better", "better?", "tie", "unknown"]
    assert together([]) == []


def verdicts(differences: list[Difference]) -> list[str]:
    return [one.verdict for one in differences]


def test_tables_of_equal_rows_rarely_show_a_difference() -> None:
    """Five rows against an equal first one: a verdict without a question mark in about one table of twenty."""
    generator = np.random.default_rng(1)
    single = joint = 0
    for sample in generator.normal(0.5, 0.1, (400, 6, 5)):
        first, *others = sample.tolist()
        found = [difference(other, first, larger_is_better=True) for other in others]
        single += any(one.verdict != "tie" for one in found)
        joint += any(one.verdict in ("better", "worse") for one in together(found))
    assert single / 400 > 0.12
    assert joint / 400 < 0.08
