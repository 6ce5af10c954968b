"""Components and run values that are made when something asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from wf import Component, Nested, Task
from wf.declarations.component import Param
from wf.discovery.plugins import Plugin
from wf.discovery.settings import Pin
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import DatasetTraits
from wf_building.builder import Builder
from wf_building.resolver import Provider
from wf_building.scopes import SCOPED

MADE: list[str] = []


def words(size: int = 8) -> Any:
    MADE.append("words")
    return SimpleNamespace(size=size)


def letters(class_names: Sequence[str], size: int = 2) -> Any:
    MADE.append("letters")
    return SimpleNamespace(size=size, class_names=class_names)


def names() -> list[str]:
    MADE.append("names")
    return ["a", "b"]


def counted(class_names: Sequence[str]) -> int:
    MADE.append("counted")
    return len(class_names)


def reader(tokenizer: Any, depth: int = 1) -> Any:
    MADE.append("reader")
    return SimpleNamespace(tokenizer=tokenizer, depth=depth)


def drawer(plots: Any, num_classes: int | None) -> Any:
    return SimpleNamespace(plots=plots, num_classes=num_classes)


def around(inner: Annotated[Any, Nested("model")], parts: Annotated[list[Any], Nested("model")] = ()) -> Any:  # type: ignore[assignment]
    MADE.append("around")
    return SimpleNamespace(inner=inner, parts=parts)


def mixed(**parts: Any) -> Any:
    return parts


def nothing() -> Any:
    raise AssertionError("it is not made")


COMPONENTS = (
    Component("tokenizer", "words", words),
    Component("tokenizer", "letters", letters),
    Component("model", "reader", reader),
    Component("model", "drawer", drawer),
    Component("model", "around", around),
    Component("model", "mixed", mixed, params=(Param(name="part", kind="model", any_name=True),)),
    Component("model", "plain", lambda: SimpleNamespace()),
    Component("plot", "line", lambda color="red": color),
    Component("dataset", "news", nothing, traits=DatasetTraits(task="writing")),
    Component(
        "task", "writing", nothing, traits=Task(name="writing", target=nothing, defaults={"tokenizer": "letters"})
    ),
    Component("task", "other", nothing, traits=Task(name="other", target=nothing)),
)
VALUES = (Component("value", "class_names", names), Component("value", "num_classes", counted))


def registered(*components: Component) -> Registry:
    own = Plugin(name="ours", distribution="ours", version="1", module="m", status="ok", components=components)
    return Registry([own])


def builder(
    plan: dict[str, Any], values: Any = None, components: Sequence[Component] = COMPONENTS, **more: Any
) -> Builder:
    MADE.clear()
    return Builder(registered(*components), values, plan=plan, **more)


def test_a_component_is_made_once_when_it_is_first_asked_for() -> None:
    plan: dict[str, Any] = {"tokenizer": {"use": "words", "size": "3"}}
    maker = builder(plan)
    assert MADE == []
    first, second = (maker.build("model", "reader").value for _ in range(2))
    assert first.tokenizer is second.tokenizer
    assert first.tokenizer.size == 3
    assert MADE == ["words", "reader", "reader"]
    assert plan == {"tokenizer": {"use": "words", "size": 3}}, "as it was made"
    assert maker.on_demand.made["tokenizer"].value is first.tokenizer  # type: ignore[union-attr]  # a run has one
    assert maker.values.provider("tokenizer") == "tokenizer 'words' of ours"


def test_several_components_are_a_list() -> None:
    plan: dict[str, Any] = {"plot": ["line", {"use": "line", "color": "blue"}]}
    maker = builder(plan)
    assert maker.build("model", "drawer").value.plots == ["red", "blue"]
    assert plan == {"plot": [{"use": "line", "color": color} for color in ("red", "blue")]}
    assert [one.value for one in maker.on_demand.made["plot"]] == ["red", "blue"]  # type: ignore[union-attr]  # a list
    assert maker.values.provider("plots") == "plots 'line' of ours and 'line' of ours"
    assert builder({"plot": {"use": "line"}}).build("model", "drawer").value.plots == ["red"]


def test_a_component_may_be_a_live_object() -> None:
    own = SimpleNamespace()
    maker = builder({"tokenizer": {"use": own}})
    assert maker.build("model", "reader").value.tokenizer is own
    assert maker.values.provider("tokenizer") == "tokenizer of one's own"


def test_a_component_that_nothing_takes_is_refused() -> None:
    maker = builder({"tokenizer": {"use": "words"}, "plot": []})
    with pytest.raises(UsageError) as caught:
        maker.on_demand.check_all_asked()
    assert str(caught.value) == (
        "tokenizer is given, but nothing in this run takes one\n"
        "  a component or a run value takes it by a parameter named 'tokenizer'"
    )
    maker.build("model", "reader")
    maker.on_demand.check_all_asked()


def test_what_a_value_needs_is_made_before_its_random_stream_is_set() -> None:
    streams: list[str] = []

    def apart(name: str) -> Any:
        streams.append(name)
        return nullcontext()

    maker = builder({"tokenizer": "letters"}, None, (*COMPONENTS, *VALUES), apart=apart)
    assert maker.build("model", "reader").value.tokenizer.class_names == ["a", "b"]
    assert streams == ["class_names", "tokenizer"]
    assert MADE == ["names", "letters", "reader"]
    streams.clear()
    assert maker.values.need("num_classes") == 2
    other = builder({}, None, (*COMPONENTS, *VALUES), apart=apart)
    assert other.values.need("num_classes") == 2
    assert streams == ["num_classes", "class_names", "num_classes"]
    assert other.values.provider("num_classes") == "run value 'num_classes' of ours"


@pytest.mark.parametrize(
    ("plan", "made"),
    [
        ({"task": "writing"}, "letters"),
        ({"dataset": {"use": "news"}}, "letters"),
        ({"task": "other", "dataset": {"use": "news"}}, "words"),
        ({"dataset": {"use": nothing}}, "words"),
        ({"dataset": {"use": SimpleNamespace()}}, "words"),
        ({"dataset": None}, "words"),
        ({}, "words"),
    ],
)
@pytest.mark.parametrize("table", [{}, {"tokenizer": {"size": 5}}])
def test_the_default_is_that_of_the_task_or_of_the_kind(plan: dict[str, Any], made: str, table: Any) -> None:
    components = (Component("tokenizer", "words", words, default=True), *COMPONENTS[1:], *VALUES)
    maker = builder({**plan, **table}, None, components)
    found = maker.build("model", "reader").value.tokenizer
    assert made in MADE
    assert found.size == (5 if table else {"words": 8, "letters": 2}[made])


def test_without_a_default_the_choice_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        builder({"dataset": {"use": nothing}}).build("model", "reader")
    assert str(caught.value) == (
        "model 'reader' needs 'tokenizer', which this run does not know\n"
        "  name one: --tokenizer NAME (available: letters, words)"
    )
    with pytest.raises(UsageError, match=r"name one: --tokenizer NAME \(available: none is installed\)"):
        builder({}, None, COMPONENTS[2:3]).build("model", "reader")


def test_the_values_of_a_component_are_settled_before_it_is_made() -> None:
    table: dict[str, Any] = {"use": "around", "inner": "reader", "parts": [{"use": "drawer", "plots": 1}, "plain"]}
    maker = builder({"tokenizer": "words"}, None, (*COMPONENTS, *VALUES))
    maker.on_demand.settle("model", table)
    assert MADE == ["words", "names", "counted"]
    assert maker.values.asked_by["tokenizer"] == ["model 'around'"]
    maker.on_demand.settle("model", table)
    assert MADE == ["words", "names", "counted"]


def test_settling_leaves_out_given_options_and_unknown_values() -> None:
    maker = builder({"tokenizer": "words"}, None, (*COMPONENTS, *VALUES))
    maker.on_demand.settle("model", {"use": "reader", "tokenizer": 1})
    for nested in (None, 5, SimpleNamespace(), [1]):
        maker.on_demand.settle("model", {"use": "around", "inner": nested})
    maker.on_demand.settle("model", {"use": SimpleNamespace()})
    assert MADE == []


def test_settling_ends_at_a_required_value_that_nobody_makes() -> None:
    maker = builder({}, None, (*COMPONENTS, *VALUES))
    maker.on_demand.settle("model", {"use": "around", "inner": "reader", "parts": [{"use": "drawer", "plots": 1}]})
    assert MADE == [], "making the component says what is missing"
    maker = builder({"tokenizer": "words"})
    maker.on_demand.settle("model", {"use": "around", "inner": {"use": "drawer", "plots": 1}, "parts": ["reader"]})
    assert MADE == ["words"], "a component can do without a number of classes"


def test_settling_leaves_out_a_value_that_is_being_made() -> None:
    def make() -> int:
        maker.on_demand.settle("model", {"use": "trained"})
        return 3

    def trained(model: Any, tokenizer: Any) -> Any: ...

    provider = Provider("the model", make, of_run=True)
    components = (*COMPONENTS, Component("model", "trained", trained))
    maker = builder({"tokenizer": "words"}, None, components, find=lambda name: provider if name == "model" else None)
    assert maker.values.need("model") == 3
    assert MADE == ["words"]


def test_a_component_of_scopes_needs_nothing_by_itself() -> None:
    class Pair:
        scopes = {"model": ("one", "other")}  # noqa: RUF012 - as users write

    maker = builder({"trainer": {"use": Pair}, "tokenizer": "words"})
    maker.on_demand.settle("model", {"use": SCOPED, "one": "reader", "other": "reader"})
    assert MADE == []
    maker.on_demand.settle("model", {"use": "around", "inner": "reader"})
    assert MADE == ["words"]


def test_components_nested_under_any_name_are_settled_and_made() -> None:
    maker = builder({"tokenizer": "words"})
    table = {"use": "mixed", "first": "plain", "second": "reader"}
    maker.on_demand.settle("model", table)
    assert MADE == ["words"]
    assert list(maker.build("model", table).value) == ["first", "second"]


def test_settling_leaves_mistakes_to_making() -> None:
    maker = builder({"tokenizer": "words"})
    for inner in (["reader"], {"depth": 1}):
        maker.on_demand.settle("model", {"use": "around", "inner": inner})
    assert MADE == []
    maker.on_demand.settle("model", {"use": "around", "inner": "plain", "parts": "reader"})
    assert MADE == ["words"]


def test_a_named_component_is_made_whatever_the_defaults() -> None:
    components = [Component("tokenizer", name, words, default=True) for name in ("words", "others")]
    plan = {"tokenizer": {"use": "others", "size": 1}}
    assert builder(plan, None, (*components, *COMPONENTS[2:])).build("model", "reader").value.tokenizer.size == 1
    with pytest.raises(UsageError, match="several defaults of kind tokenizer"):
        builder({}, None, (*components, *COMPONENTS[2:])).build("model", "reader")


@pytest.mark.parametrize(
    ("pins", "chosen"), [([], "wf-text"), ([Pin("tokenizer", "letters", "theirs", "a file")], "theirs")]
)
def test_the_default_of_a_task_is_the_built_in_one_of_that_name_or_the_pinned_one(pins: Any, chosen: str) -> None:
    plugins = [
        Plugin(name=name, distribution=name, version="1", module="m", status="ok", components=components)
        for name, components in (("theirs", COMPONENTS), ("wf-text", COMPONENTS[:2]))
    ]
    plan: dict[str, Any] = {"task": "writing"}
    Builder(Registry(plugins).preferring(pins), {"class_names": ["a"]}, plan=plan).build("model", "reader")
    assert plan["tokenizer"]["use"] == f"letters@{chosen}"


def test_a_run_value_has_no_option_on_the_command_line() -> None:
    components = (*COMPONENTS, Component("value", "num_classes", lambda height: height))
    with pytest.raises(UsageError) as caught:
        builder({}, None, components).values.need("num_classes")
    assert str(caught.value).splitlines()[0] == "value 'num_classes' needs option 'height', in its table"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("num_classes", {"strategy": 1}, "the run has no dataset: its trainer makes the samples itself"),
        ("num_classes", {"strategy": 1, "data": 1}, "known here: data, strategy"),
        ("num_classes", {"data": 1}, "known here: data"),
        ("class_counts", {"num_classes": 2, "data": 1}, "the classes of samples that are not held in memory are not"),
        ("class_names", {"num_classes": 2, "data": 1}, "known here: data, num_classes"),
        *(
            (name, {"dataset_targets": "real", "data": 1}, "the dataset has real targets, so there are no classes")
            for name in ("num_classes", "class_names", "class_counts")
        ),
        *((name, {"data": 1}, "a sample's input is several tensors") for name in ("input_shape", "num_features")),
        ("input_shape", {"seed": 1}, "known here: seed"),
        ("num_classes", {}, "there is no run here that knows anything"),
    ],
)
def test_the_reason_why_a_value_is_unknown(name: str, values: dict[str, Any], reason: str) -> None:
    assert builder({}, values).on_demand.how_to_provide(name).startswith(reason)
