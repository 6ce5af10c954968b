"""Charts as text."""

from __future__ import annotations

from typing import Any

import pytest

from wf_charts import Interval, Intervals, Lines, Matrix, Panels, Sample, Samples, Series
from wf_charts.terminal import as_text

LOSS = Lines(
    name="loss",
    title="Loss",
    x_label="epochs",
    series=[
        Series(name="train", x=[1, 2, 3], y=[1.0, 0.5, 0.25], role="train"),
        Series(name="validation", x=[1, 2, 3], y=[1.0, float("nan"), 0.5], role="validation"),
    ],
)
MATRIX = Matrix(name="c", title="Confusion", rows=["cat", "dog"], columns=["cat", "dog"], counts=[[30, 10], [0, 5]])
FOREST = Intervals(
    name="f",
    title="Difference",
    rows=[Interval(name="adam", mean=0.0, low=-1.0, high=1.0), Interval(name="sgd", mean=0.5)],
    reference=0.0,
)
WORST = Samples(name="w", title="Worst", samples=[Sample(caption="sample 1: cat, predicted dog", text="word " * 40)])


def test_curves_have_axes_and_a_legend() -> None:
    lines = as_text(LOSS, 60).splitlines()
    assert lines[0].strip() == "Loss"
    assert lines[-1] == "▚ train   + validation"
    assert any(line.startswith("1.00") for line in lines)
    assert "epochs" in lines[-3]
    assert "\033" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("chart", [LOSS, MATRIX, FOREST, WORST, Panels(name="p", title="P", panels=[LOSS, LOSS])])
def test_no_line_is_wider_than_the_terminal(chart: Any, width: int) -> None:
    assert max(map(len, as_text(chart, width).splitlines())) <= width


def test_colours_only_on_request() -> None:
    assert "\033[38;5;" in as_text(LOSS, 60, colour=True)


def test_a_matrix_has_names_counts_and_the_share_of_correct_ones() -> None:
    assert as_text(MATRIX).splitlines()[1:] == [
        "true  cat  dog  right",
        "cat    30   10    75%",
        "dog     0    5   100%",
    ]


def test_a_forest_plot_shows_the_reference_and_the_means() -> None:
    lines = as_text(FOREST, 40).splitlines()
    assert lines[1].count("─") > 10
    assert ("●" in lines[1], "●" in lines[2], "┊" in lines[2]) == (True, True, True)


def test_a_chart_without_finite_values_says_so() -> None:
    chart = Lines(name="loss", title="Loss", series=[Series(name="train", x=[1], y=[float("nan")])])
    assert as_text(chart).splitlines() == ["Loss", "nothing to draw: no finite values"]


def test_logarithmic_y_axis_is_labelled_with_plain_values() -> None:
    chart = Lines(name="l", title="L", series=[Series(name="a", x=[0, 1, 2], y=[1.0, 0.1, 0.01])], log_y=True)
    assert "0.01" in as_text(chart, 60)
    assert "0.1" in as_text(chart, 60)


def test_logarithmic_x_axis_has_decades_and_a_label() -> None:
    rates = [10.0**power for power in range(-6, 1)]
    chart = Lines(
        name="rates",
        title="Loss",
        x_label="learning rate",
        log_x=True,
        series=[
            Series(name="loss", x=rates, y=[3.0, 3.0, 2.0, 1.0, 0.5, 1.0, 4.0]),
            Series(name="best", x=[0.01, 0.01], y=[0.5, 4.0], mark="reference"),
        ],
    )
    lines = as_text(chart, 60).splitlines()
    assert lines[-1] == "▚ loss   · best"
    assert lines[-3].strip() == "learning rate"
    assert lines[-4].split() == ["1e-06", "3.2e-05", "0.001", "0.032", "1"]
    places = {line.index("·") for line in lines if "·" in line and "best" not in line}
    assert len(places) == 1, "a vertical line"


def test_a_group_has_one_entry_in_the_legend() -> None:
    series = [Series(name=f"adam/{seed}", x=[1, 2], y=[seed, 2.0], group="adam") for seed in (1, 2)]
    lines = as_text(Lines(name="loss", title="loss", series=[*series, Series(name="sgd", x=[1, 2], y=[3, 4])])).split(
        "\n"
    )
    assert lines[-1].split() == ["▚", "adam", "+", "sgd"]
