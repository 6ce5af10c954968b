"""Curves in a terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wf_watch.chart import chart

POINTS = st.lists(st.tuples(st.integers(0, 10**6), st.floats(allow_subnormal=False)), max_size=30)


def lines_of(*args: object) -> list[str]:
    return chart(*args).plain.splitlines()  # type: ignore[arg-type]  # as the tests give them


def test_a_line_that_rises_goes_from_one_corner_to_the_other() -> None:
    lines = lines_of("loss", {"train": [(0, 1.0), (10, 2.0)]}, 20, 6)
    assert lines[0] == "loss  train"
    assert [line[:2] for line in lines[1:5]] == ["2 ", "  ", "  ", "1 "]
    assert lines[1][-1] != " "
    assert lines[4][2] != " "
    assert [line[2:].strip() != "" for line in lines[1:5]] == [True] * 4
    columns = [next(at for at, character in enumerate(line[2:]) if character != " ") for line in lines[1:5]]
    assert columns == sorted(columns, reverse=True)
    assert lines[5].split() == ["0", "10"]


def test_a_wide_range_is_logarithmic_and_says_so() -> None:
    wide = {"train": [(0, 100.0), (1, 1.0), (2, 0.01)]}
    assert lines_of("loss", wide, 40, 6)[0] == "loss (logarithmic)  train"
    assert lines_of("loss", {"train": [(0, 100.0), (1, 0.0)]}, 40, 6)[0] == "loss  train"


def test_what_is_not_finite_is_left_out() -> None:
    lines = lines_of("loss", {"train": [(0, math.nan), (1, 1.0), (2, math.inf), (3, 2.0)], "validation": []}, 20, 5)
    assert lines[0] == "loss  train"
    assert lines_of("loss", {"train": [(0, math.nan)]}, 20, 5) == ["loss", "nothing yet"]


@given(points=POINTS, width=st.integers(10, 120), height=st.integers(4, 30))
def test_it_takes_the_place_that_it_is_given(points: list[tuple[float, float]], width: int, height: int) -> None:
    lines = lines_of("loss", {"train": points, "validation": points[::2]}, width, height)
    assert len(lines) in (2, height)
    assert max(map(len, lines)) <= max(width, 30)
