"""The table of epochs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wf_tracking.display.table import Table

FIGURES: dict[tuple[str, str], Any] = {
    ("train", "loss"): 1.328,
    ("validation", "loss"): 0.40311,
    ("validation", "accuracy"): 0.9296,
    ("test", "loss"): 1e-7,
}


def shown(width: int, *rows: tuple[str, dict[tuple[str, str], Any]]) -> list[str]:
    table, lines = Table(width), []
    for place, figures in rows:
        lines += table.heading([("epoch", place)], figures)
        lines.append(table.row([("epoch", place)], figures, "1.2 s"))
    return lines


def test_numbers_are_aligned_below_their_headings() -> None:
    assert shown(80, ("1/12", FIGURES), ("12/12", {("train", "loss"): float("nan")})) == [
        "           train  validation                  test",
        "epoch       loss        loss   accuracy       loss        time",
        " 1/12      1.328      0.4031     0.9296  1.000e-07       1.2 s",
        "12/12        nan           -          -          -       1.2 s",
    ]


def test_columns_that_do_not_fit_become_an_ellipsis() -> None:
    _, lower, row = shown(60, ("1/12", FIGURES))
    assert lower == "epoch       loss        loss   accuracy  …        time"
    assert row.split() == ["1/12", "1.328", "0.4031", "0.9296", "…", "1.2", "s"]


def test_a_new_figure_repeats_the_heading() -> None:
    few = {("train", "loss"): 1.0}
    lines = shown(80, ("1/3", few), ("2/3", FIGURES), ("3/3", few))
    assert [line.split()[0] for line in lines] == ["train", "epoch", "1/3", "train", "epoch", "2/3", "3/3"]
    assert lines[-1].split() == ["3/3", "1.000", "-", "-", "-", "1.2", "s"]


@given(width=st.integers(48, 120), names=st.lists(st.text("ab_", min_size=1, max_size=20), max_size=9, unique=True))
def test_no_line_is_wider_than_the_terminal(width: int, names: list[str]) -> None:
    figures = {("train", "loss"): 1.0, **{("validation", name): 0.5 for name in names}}
    lines = shown(width, ("1/12", figures), ("2/12", figures))
    assert max(map(len, lines)) <= width - len(" *")
    assert len({len(line) for line in lines[1:]}) == 1
