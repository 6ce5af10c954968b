"""Curves in a terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wf_watch.chart import chart

POINTS = st.lists(st.tuples(st.integers(0, 10**6), st.floats(allow_subnormal=False)), max_size=30)


def lines_of(*args: object) -> list[str]:
    return chart(*args).plain.splitlines()  # type: ignore[arg-type]  # as the tests give them


def test_a_curve_has_a_title_axes_and_a_name() -> None:
    lines = lines_of("loss", {"train": [(0, 1.0), (10, 2.0)], "validation": [(0, 1.5), (10, 1.5)]}, 40, 12)
    assert len(lines) == 12
    assert lines[0].strip() == "loss"
    assert next(line.partition("┤")[0].strip() for line in lines if "┤" in line) == "2.00"
    assert lines[-2].split()[:1] == ["0.0"]
    assert lines[-1] == "▚ train   ▚ validation"
    colours = {str(span.style) for span in chart("loss", {"train": [(0, 1.0), (1, 2.0)]}, 40, 12).spans}
    assert any("color(" in colour for colour in colours)


def test_a_wide_range_is_logarithmic_and_says_so() -> None:
    wide = {"train": [(0, 100.0), (1, 1.0), (2, 0.001)]}
    assert lines_of("loss", wide, 40, 8)[0].strip() == "loss (logarithmic)"
    assert lines_of("loss", {"train": [(0, 100.0), (1, 0.0)]}, 40, 8)[0].strip() == "loss"


def test_non_finite_values_are_left_out() -> None:
    lines = lines_of("loss", {"train": [(0, math.nan), (1, 1.0), (2, math.inf), (3, 2.0)], "validation": []}, 40, 10)
    assert lines[-1] == "▚ train"
    assert lines_of("loss", {"train": [(0, math.nan)]}, 20, 5) == ["loss", "nothing yet"]


@given(points=POINTS, width=st.integers(10, 120), height=st.integers(4, 30))
def test_charts_fit_the_given_width_and_height(points: list[tuple[float, float]], width: int, height: int) -> None:
    lines = lines_of("loss", {"train": points, "validation": points[::2]}, width, height)
    assert len(lines) == 2 or len(lines) <= height
    assert max(map(len, lines)) <= max(width, 30)
