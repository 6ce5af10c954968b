"""Charts as files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from wf_charts import Interval, Intervals, Lines, Matrix, Panels, Sample, Samples, Series
from wf_charts.charts import is_wide, thinned
from wf_charts.pictures import as_bytes, save

LINES = Lines(name="loss", title="Loss", series=[Series(name="train", x=[1, 2, 3], y=[1.0, float("nan"), 0.5])])
MATRIX = Matrix(
    name="confusion", title="Confusion", rows=["$a$", "<b>"], columns=["$a$", "<b>"], counts=[[3, 1], [0, 0]]
)
INTERVALS = Intervals(name="forest", title="Forest", rows=[Interval(name="adam", mean=0.5, low=0.4, high=0.6)])
CHARTS: list[Any] = [
    LINES,
    Panels(name="metrics", title="Metrics", panels=[LINES, LINES, LINES]),
    MATRIX,
    INTERVALS,
    Samples(name="worst", title="Worst", samples=[Sample(caption="one", text="a text")]),
    Samples(name="none", title="None", samples=[]),
]


def texts(chart: Any) -> set[str]:
    root = ElementTree.fromstring(as_bytes(chart))
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_drawing_a_chart_twice_gives_the_same_svg_bytes(chart: Any) -> None:
    assert as_bytes(chart) == as_bytes(chart)
    ElementTree.fromstring(as_bytes(chart))


def test_matrix_names_are_literal_and_cells_show_counts() -> None:
    assert {"$a$", "<b>", "3", "1", "Confusion"} <= texts(MATRIX)


def test_a_file_is_named_after_the_chart(tmp_path: Path) -> None:
    path = save(LINES, tmp_path / "plots", "png")
    assert path == tmp_path / "plots" / "loss.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_thinning_keeps_a_single_peak() -> None:
    series = Series(name="train", x=list(range(5000)), y=[0.0] * 3210 + [9.0] + [0.0] * 1789)
    kept = thinned(series, 400)
    assert len(kept.x) <= 400
    assert (kept.x[list(kept.y).index(9.0)], max(kept.y)) == (3210, 9.0)


def test_matrix_shares_are_fractions_of_the_row() -> None:
    assert MATRIX.shares() == [[0.75, 0.25], [0, 0]]


@pytest.mark.parametrize(("values", "wide"), [([1, 101], True), ([1, 99], False), ([0, 1e6], False), ([], False)])
def test_axes_over_two_decades_are_logarithmic(values: list[float], wide: bool) -> None:
    assert is_wide(values) is wide


@pytest.mark.parametrize("values", [[1.0, 1e5, 1e11], [0.2, 0.3, 0.5]])
def test_a_logarithmic_axis_has_plain_numbers(values: list[float]) -> None:
    chart = Lines(name="l", title="L", series=[Series(name="a", x=[0, 1, 2], y=values)], log_y=True)
    found = texts(chart)
    assert not any("$" in text for text in found)
    assert found & {"1e+10", "0.3"}


def test_the_labels_of_logarithmic_axes_are_numbers() -> None:
    series = [Series(name="s", x=[1e-4, 1e-2, 1.0], y=[1.0, 1000.0, 1e5])]
    drawn = as_bytes(Lines(name="a", title="t", series=series, log_x=True, log_y=True)).decode()
    assert {"0.0001", "0.01", "1"} <= set(re.findall(r">([^<>]+)</text>", drawn))
    assert "$" not in drawn
