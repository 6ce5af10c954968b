"""The names of figures, and the monitors that decide by them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.engine.figures import Figures, Monitor, best, divided, metric_of
from wf.engine.watching import Sources, expect
from wf.errors import UsageError

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
def test_a_monitor_reads_its_figure_and_direction(text: str, figure: str, larger: bool | None) -> None:
    monitor = Monitor.read(text, DIRECTIONS)
    assert (monitor.figure, monitor.larger_is_better) == (figure, larger)


class Part:
    """A part that declares its figures.

    Args:
        figures: Its figures.
    """

    def __init__(self, figures: Any = None) -> None:
        self.figures = figures


class Listens(Part):
    """A hook that may add figures to records."""

    def on_log(self, run: Any, record: dict[str, Any]) -> None:
        """Nothing."""


@given(name=NAMES, figures=st.lists(NAMES))
def test_a_figure_is_looked_up_among_the_declared_names(name: str, figures: list[str]) -> None:
    for said in (tuple(figures), dict.fromkeys(figures)):
        sources = Sources(Part({}), Part(said), ())
        found = sources.find(f"validation/{name}", ["validation"])
        if name in figures:
            assert found == "said"
        elif isinstance(said, tuple) and metric_of(name, figures) is not None:
            assert found == "open"
        elif not any(one.endswith("*") for one in figures):
            assert found == "unknown"
    assert Sources(Part({}), Part(), ()).find(f"validation/{name}", ["validation"]) == "open"


def test_figures_of_training_steps_need_no_evaluation() -> None:
    judge, evaluated = Part({"loss": False, "loss/*": False, "map": True}), ["validation"]
    sources = Sources(Part({"loss/*": False}), judge, [Part({"train/lr": None, "*/gap": None})])
    for text in ("train/loss/size:min", "train/lr:max", "validation/gap:min", "validation/map"):
        read_after, found = expect(Monitor.read(text), "monitor", "who", sources, evaluated)
        assert (read_after, found) == ("validation", "open" if "size" in text else "said")
    for text in ("train/map", "train/loss", "test/map", "train/running_loss"):
        with pytest.raises(UsageError, match="add the split to --eval-splits, or set monitor"):
            expect(Monitor.read(text), "monitor", "who", sources, evaluated)
    for text in ("train/lrs", "validation/gaps", "validation/map-50"):
        with pytest.raises(UsageError, match="unknown figure"):
            expect(Monitor.read(text), "monitor", "who", sources, evaluated)


def test_a_part_without_declared_figures_may_give_any() -> None:
    listens = Sources(Part({}), Part({}), [Listens()])
    assert listens.find("train/any", ["validation"]) == "open"
    assert listens.find("validation/any", ["validation"]) == "unknown"
    shows = Listens()
    shows.told_last = True  # type: ignore[attr-defined]  # as one that shows figures
    assert Sources(Part({}), Part({}), [shows]).find("train/any", ["validation"]) == "unknown"
    assert Sources(Part(), Part({}), ()).patterns(["validation"]) == ["train/*"]


@pytest.mark.parametrize(
    ("hooks", "judge", "words"),
    [
        ([{"train/lr": None}, {"train/lr": None}], {}, "'train/lr' has two sources"),
        ([{"train/map": None}], {"map": None}, "'train/map' has two sources: Part, and the evaluator"),
        ([{"*/map": None}], {"map": None}, "has two sources: the evaluator, and Part"),
    ],
)
def test_one_figure_declared_by_two_parts_is_refused(hooks: list[Any], judge: Any, words: str) -> None:
    names = iter(["hook one", "hook two"]) if len(hooks) > 1 else iter(["Part"])
    with pytest.raises(UsageError, match=words):
        Sources(Part({}), Part(judge), [Part(said) for said in hooks], lambda _: next(names))


def first() -> str:
    return "first"


def second() -> str:
    return "second"


def test_figures_have_one_source_and_are_numbers() -> None:
    figures = Figures({"loss": 1.0}, "train", "the trainer", {"map": "the evaluator"})
    figures.values |= {"tree": {"a": 1, "": 2, "b": {"c": [1.0, 2]}}, "none": None}
    figures.take(first)
    given = {"loss": 1.0, "tree/a": 1, "tree": 2, "tree/b/c": [1.0, 2], "none": None}
    assert (type(figures.values), figures.values) == (dict, given)  # which a hook may keep in its state
    assert figures.added == ["tree/a", "tree", "tree/b/c", "none"]
    figures.take(second)
    wrong: list[tuple[Any, Any, str]] = [
        *(("tree", 3, "'train/tree' has two sources: first, and second"), ("map", 1, "the evaluator, and second")),
        *(("loss", 1.5, "the trainer, and second"), ("tree", {"a": 2}, "'train/tree/a' has two sources: first")),
        *((name, 1, "second gave a figure the name") for name in ("step", "", 3)),
        *(
            ("x", value, "second gave .* of type .* as 'train/x', which is not a figure")
            for value in ("a", [None], {1})
        ),
    ]
    for name, value, words in wrong:
        figures.values |= {"before": 1, name: value}
        with pytest.raises(UsageError, match=words):
            figures.take(second)
        assert figures.values == given  # a refused figure leaves nothing behind
    del figures.values["none"]
    figures.take(second)
    assert "none" not in figures.values


def test_a_misspelt_monitor_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'validation/accuracy'"):
        Monitor.read("validation/acuracy", DIRECTIONS).direction("--monitor")


@given(split=st.sampled_from(["train", "validation", "test"]), name=NAMES, said=st.sampled_from(["min", "max"]))
def test_names_with_slashes_dashes_and_dots_stay_whole(split: str, name: str, said: str) -> None:
    monitor = Monitor.read(f"{split}/{name}:{said}")
    assert (monitor.split, monitor.name, monitor.larger_is_better) == (split, name, said == "max")
    assert divided(monitor.figure) == (split, name)


@given(names=st.lists(NAMES, min_size=1), key=NAMES)
def test_a_figure_belongs_to_the_longest_matching_metric_name(names: list[str], key: str) -> None:
    for name in names:
        assert metric_of(name, names) == name
        found = metric_of(f"{name}-{key}", names)
        assert found is not None
        assert len(found) >= len(name)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Monitor.read("validation/odd", DIRECTIONS).direction("--monitor", "who")
    assert str(caught.value) == (
        "who: it is not known whether a larger 'validation/odd' is better\n"
        "  write the direction behind the figure: --monitor validation/odd:max or validation/odd:min\n"
        "  known: accuracy, loss, mae, torchmetrics/F1.v2"
    )


@pytest.mark.parametrize(("value", "words"), [([1.0], "not one number but list"), ("0.5", "not one number but str")])
def test_a_value_that_is_not_one_number(value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Monitor.read("validation/odd").value({"validation/odd": value}, "who", "--monitor")


def test_a_missing_value_is_nan() -> None:
    assert math.isnan(Monitor.read("validation/odd").value({"validation/odd": None}, "who", "--monitor"))


@pytest.mark.parametrize(("larger", "order"), [(True, ["b", "c", "a"]), (False, ["a", "b", "c"])])
def test_best_keeps_the_order_of_ties_and_drops_non_finite_values(larger: bool, order: list[str]) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 2, "nan": math.nan, "inf": math.inf, "low": -math.inf, "none": None, "list": [3]}
    assert best(values, larger_is_better=larger) == order
