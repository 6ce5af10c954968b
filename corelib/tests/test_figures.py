"""The names of figures, and what decides by them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import UsageError
from wf.figures import Monitor, best, divided, metric_of

DIRECTIONS = {"accuracy": True, "mae": False, "torchmetrics/F1.v2": True}
NAMES = st.text(st.sampled_from("ab-/._"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "figure", "larger"),
    [
        ("validation/loss", "validation/loss", False),
        ("validation/accuracy", "validation/accuracy", True),
        ("test/torchmetrics/F1.v2", "test/torchmetrics/F1.v2", True),
        ("test/F1.v2", "test/F1.v2", None),
        ("validation/odd", "validation/odd", None),
        ("validation/odd:min", "validation/odd", False),
        ("validation/accuracy:min", "validation/accuracy", False),
        ("validation/a:b", "validation/a:b", None),
        ("validation/loss-gap", "validation/loss-gap", None),
    ],
)
def test_a_monitor_has_a_direction_or_it_is_not_known(text: str, figure: str, larger: bool | None) -> None:
    monitor = Monitor.read(text, DIRECTIONS)
    assert (monitor.figure, monitor.larger_is_better) == (figure, larger)


@given(name=NAMES, figures=st.lists(NAMES))
def test_a_figure_is_looked_for_among_those_that_are_declared(name: str, figures: list[str]) -> None:
    monitor = Monitor.read(f"validation/{name}:max")
    monitor.check(None, "--monitor")
    monitor.check([*figures, name], "--monitor")
    if metric_of(name, figures) is None:
        with pytest.raises(UsageError, match="unknown figure"):
            monitor.check(figures, "--monitor")


def test_a_term_of_the_loss_of_steps_needs_no_evaluator_that_gives_it() -> None:
    Monitor.read("train/loss/size:min").check(["map"], "monitor")
    with pytest.raises(UsageError, match="validation/loss/size"):
        Monitor.read("validation/loss/size:min").check(["map"], "monitor")


def test_a_direction_that_is_not_known_may_be_a_slip() -> None:
    with pytest.raises(UsageError, match="did you mean 'validation/accuracy'"):
        Monitor.read("validation/acuracy", DIRECTIONS).direction("--monitor")


@given(split=st.sampled_from(["train", "validation", "test"]), name=NAMES, said=st.sampled_from(["min", "max"]))
def test_names_with_slashes_dashes_and_dots_stay_whole(split: str, name: str, said: str) -> None:
    monitor = Monitor.read(f"{split}/{name}:{said}")
    assert (monitor.split, monitor.name, monitor.larger_is_better) == (split, name, said == "max")
    assert divided(monitor.figure) == (split, name)


@given(names=st.lists(NAMES, min_size=1), key=NAMES)
def test_a_figure_is_of_the_longest_name(names: list[str], key: str) -> None:
    for name in names:
        assert metric_of(name, names) == name
        found = metric_of(f"{name}-{key}", names)
        assert found is not None
        assert len(found) >= len(name)


def test_a_direction_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Monitor.read("validation/odd", DIRECTIONS).direction("--monitor", "who")
    assert str(caught.value) == (
        "who: it is not known whether a larger 'validation/odd' is better\n"
        "  say it behind the figure: --monitor validation/odd:max or validation/odd:min\n"
        "  known: accuracy, loss, mae, torchmetrics/F1.v2"
    )


@pytest.mark.parametrize(("value", "words"), [([1.0], "not one number but list"), ("0.5", "not one number but str")])
def test_a_value_that_is_not_one_number(value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Monitor.read("validation/odd").value({"validation/odd": value}, "who", "--monitor")


def test_a_value_that_is_missing_is_no_number() -> None:
    assert math.isnan(Monitor.read("validation/odd").value({"validation/odd": None}, "who", "--monitor"))


@pytest.mark.parametrize(("larger", "order"), [(True, ["b", "c", "a"]), (False, ["a", "b", "c"])])
def test_of_equal_ones_the_earlier_is_first_and_what_is_not_finite_is_left_out(larger: bool, order: list[str]) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 2, "nan": math.nan, "inf": math.inf, "low": -math.inf, "none": None, "list": [3]}
    assert best(values, larger_is_better=larger) == order
