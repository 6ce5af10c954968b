"""Options: from signatures, annotations and docstrings; and values converted to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st

from wf import Component, Nested, Param
from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import PluginError, UsageError
from wf.parameters import (
    allows_none,
    check_known,
    convert,
    from_signature,
    is_function_loss,
    nested_kind,
    parameters,
    type_name,
    without_null,
)

if TYPE_CHECKING:
    from nowhere import Unresolvable


class Focal:
    """A loss.

    Args:
        gamma: How much easy samples
            count less.
        num_classes: The classes.
    """

    def __init__(
        self, gamma: float = 2.0, *rest: int, num_classes: int, path: Path | None = None, **kwargs: Any
    ) -> None:
        """More.

        Args:
            path: A file.
            gamma: Said already.
        """


def options(target: Any, **fields: Any) -> dict[str, Param]:
    component = Component(fields.pop("kind", "loss"), "x", target, **fields)
    return {param.name: param for param in parameters(component, lambda: target)}


# From signatures


def test_options_of_a_class() -> None:
    found = options(Focal)
    assert list(found) == ["gamma", "num_classes", "path"]
    assert (found["gamma"].type, found["gamma"].default) == (float, 2.0)
    assert found["gamma"].help == "How much easy samples count less."
    assert found["gamma"].source is None
    assert (found["num_classes"].default, found["num_classes"].source) == (REQUIRED, "num_classes")
    assert (found["path"].type, found["path"].help) == (Path | None, "A file.")


def test_parameters_with_a_default_are_not_filled_in_by_the_run() -> None:
    def make(seed: int, num_classes: int = 3) -> None: ...

    assert {name: param.source for name, param in options(make, kind="model").items()} == {
        "seed": "seed",
        "num_classes": None,
    }


def test_an_unresolvable_annotation_does_not_affect_the_others() -> None:
    def make(gamma: float, what: Unresolvable | None, name: str = "a") -> None: ...

    found = options(make, kind="model")
    assert (found["gamma"].type, found["name"].type) == (float, str)
    assert found["what"].type == "Unresolvable | None"
    assert allows_none(found["what"].type)
    assert not allows_none("NoneSuch")
    assert convert(found["what"], [1], "x") == [1]


def test_parameter_without_annotation_and_docstring() -> None:
    assert options(lambda gamma=1: None, kind="model")["gamma"] == Param(name="gamma", type=Any, default=1)


@pytest.mark.parametrize("target", [dict, len, int, print])
def test_builtins_without_a_signature_raise_no_error(target: Any) -> None:
    assert isinstance(from_signature(target), tuple)


def test_a_malformed_docstring_is_ignored() -> None:
    def make(a: int = 1) -> None: ...

    for text in (":param", "Args:\n  : x\n a", "Parameters\n----", "\x00", ":param int: :type"):
        make.__doc__ = text
        assert [param.name for param in from_signature(make)] == ["a"]


def test_a_declaration_wins_and_nothing_is_imported() -> None:
    def load() -> Any:
        raise AssertionError("imported")

    declared = (Param(name="pretrained", type=bool, default=False), Param(name="in_chans", type=int))
    component = Component("model", "x", "nowhere:Net", params=declared, inject={"in_chans": "num_channels"})
    found = parameters(component, load)
    assert [(param.name, param.source) for param in found] == [("pretrained", None), ("in_chans", "num_channels")]


def test_inject_fills_in_even_over_a_default() -> None:
    def make(in_chans: int = 3, width: int = 1) -> None: ...

    found = options(make, kind="model", inject={"in_chans": "num_channels"})
    assert (found["in_chans"].source, found["in_chans"].default, found["width"].source) == ("num_channels", 3, None)


@pytest.mark.parametrize(
    ("inject", "words"),
    [
        ({"in_chan": "num_channels"}, "unknown option 'in_chan' of inject of model 'x'\n  did you mean 'in_chans'"),
        ({"in_chans": "num_channel"}, "unknown run value 'num_channel' of inject of model 'x'\n  did you mean 'num_ch"),
    ],
)
def test_a_misspelt_inject(inject: dict[str, str], words: str) -> None:
    def make(in_chans: int = 3) -> None: ...

    with pytest.raises(PluginError) as caught:
        options(make, kind="model", inject=inject)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, Nested("optimizer")],
        Annotated[int | None, Nested("optimizer")],
        Annotated[int, Nested("optimizer")] | None,
        Annotated[int, "other", Nested("optimizer")],
    ],
)
def test_nested_component_annotations_are_recognised(annotation: Any) -> None:
    assert nested_kind(annotation) == "optimizer"
    assert type_name(annotation).startswith("an optimizer")
    assert nested_kind(int | None) is None


# Functions as losses


def test_functions_that_are_losses_are_recognised() -> None:
    def mine(predictions: Any, targets: Any, gamma: float = 2.0) -> None: ...
    def makes(num_classes: int, gamma: float) -> None: ...
    def keywords(*, a: int, b: int) -> None: ...
    def defaults(a: Any, b: int = 1) -> None: ...
    def anything(*args: Any) -> None: ...

    def is_loss(target: Any, **fields: Any) -> bool:
        return is_function_loss(Component(fields.pop("kind", "loss"), "x", target, **fields), target)

    assert is_loss(mine)
    assert not any(map(is_loss, (makes, keywords, defaults, anything, Focal)))
    assert not is_loss(mine, kind="metric")
    assert not is_loss(mine, call="factory")
    assert is_loss(defaults, call="function")
    assert list(options(mine)) == ["gamma"]
    assert list(options(mine, call="factory")) == ["predictions", "targets", "gamma"]


def test_loss_functions_with_leading_fixed_arguments() -> None:
    def mine(name: str, predictions: Any, targets: Any, gamma: float = 2.0) -> None: ...

    assert list(options(mine, args=("a",))) == ["gamma"]
    assert is_function_loss(Component("loss", "x", mine, args=("a",)), mine)


# Conversion


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (float, 2, 2.0),
        (float, "0.1", 0.1),
        (int, 3.0, 3),
        (float, math.inf, math.inf),
        (list[float], [1, 2], [1.0, 2.0]),
        (tuple[float, float], [0.9, 1], (0.9, 1.0)),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (Path, "a/b", Path("a/b")),
        (Path | None, "@null", None),
        (float | None, 1, 1.0),
        (list[float | None], [1, "@null"], [1.0, None]),
        (dict[str, int | None], {"a": "@null"}, {"a": None}),
        (Literal["mean", "sum"], "sum", "sum"),
        (int | str, 5, 5),
        (int | str, "5", "5"),
        (bool, True, True),
        (bool, 1, True),
        (bool | int, True, True),
        (list[bool | float], [True, 1.0], [True, 1.0]),
        (Literal[1, True], True, True),
        (Any, "@null", None),
        (Any, True, True),
        (Color, "red", Color.RED),
        (Annotated[int, Nested("model")], 3, 3),
        (5, "an annotation that is no type", "an annotation that is no type"),
    ],
)
def test_convertible_values(annotation: Any, value: Any, wanted: Any) -> None:
    converted = convert(Param(name="x", type=annotation), value, "loss 'a'")
    assert converted == wanted
    assert type(converted) is type(wanted)


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (float, "two", "loss 'a': option 'x' wants float, not 'two'"),
        (float, True, "option 'x' wants float, not True"),
        (int, False, "option 'x' wants int, not False"),
        (int | str, True, "option 'x' wants int or str, not True"),
        (float | None, True, "option 'x' wants float or null, not True"),
        (Annotated[float, Ge(0)], True, "option 'x' wants float, not True"),
        (Annotated[int, Ge(0)] | None, False, "option 'x' wants int or null, not False"),
        (Literal[1, 2], True, "option 'x' wants 1|2, not True"),
        (list[float], [0.5, True], "option 'x' wants list[float], not [0.5, True]"),
        (dict[str, int], {"a": True}, "not {'a': True}"),
        (int, 2.5, "option 'x' wants int, not 2.5"),
        (float, "@null", "option 'x' wants float, not None"),
        (list[int], 3, "write a list, for example '[3]'"),
        (list[int] | None, 3, "write a list, for example '[3]'"),
        (tuple[int, int], [1], "option 'x' wants tuple[int, int], not [1]"),
        (
            Literal["mean", "sum"],
            "maen",
            "unknown x 'maen' of loss 'a'\n  did you mean 'mean'?\n  available: mean, sum",
        ),
        (Literal["mean"] | None, "maen", "did you mean 'mean'"),
        (Literal["mean", "sum"], 5, "available: mean, sum"),
        (str, 5, "to have it as text put it in quotes: '\"5\"'"),
        (Path, 5, "option 'x' wants Path, not 5"),
    ],
)
def test_unconvertible_values(annotation: Any, value: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(Param(name="x", type=annotation, help="What it does."), value, "loss 'a'")
    assert words in str(caught.value)
    assert "[[" not in str(caught.value)
    assert str(caught.value).endswith("\n  x: What it does.")


def test_a_default_of_none_is_allowed_whatever_the_annotation_says() -> None:
    assert convert(Param(name="x", type=int, default=None), "@null", "a") is None


@given(st.lists(st.integers() | st.floats(allow_nan=False), max_size=5))
def test_numbers_become_floats(values: list[float]) -> None:
    converted = convert(Param(name="x", type=list[float]), values, "a")
    assert converted == [float(value) for value in values]
    assert all(type(value) is float for value in converted)


def test_without_null_replaces_null_in_containers_only() -> None:
    pair, thing = ("@null", 1), object()
    assert without_null(pair) is pair
    assert without_null(thing) is thing
    assert without_null({"a": ["@null", {"b": "@null"}]}) == {"a": [None, {"b": None}]}


# Names


def test_check_known() -> None:
    params = [Param(name="gamma"), Param(name="alpha")]
    check_known(["gamma"], params, "loss 'a'")
    with pytest.raises(UsageError) as caught:
        check_known(["gama"], params, "loss 'a'", "loss a")
    assert str(caught.value) == (
        "unknown option 'gama' of loss 'a'\n  did you mean 'gamma'?\n  available: gamma, alpha\n  see: wf show loss a"
    )
    with pytest.raises(UsageError, match=r"unknown option 'x' of loss 'a'\n  it has no options$"):
        check_known(["x"], [], "loss 'a'")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "float"),
        (int | None, "int or null"),
        (list[int], "list[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Callable[[Focal, int], str], "Callable[[Focal, int], str]"),
        (Callable[..., str], "Callable[..., str]"),
        (Literal["mean", "sum"], "mean|sum"),
        (Any, "any"),
        ("Written | None", "Written | None"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (Path, "Path"),
    ],
)
def test_type_name(annotation: Any, text: str) -> None:
    assert type_name(annotation) == text


def test_every_run_value_is_described() -> None:
    assert all(name.isidentifier() and text for name, text in VALUES.items())


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (int | None, None),
        (int | str, "full"),
        (float, float("inf")),
        (bool, True),
        (list[str], ["a", "b"]),
        (list[str] | None, None),
        (list[int], []),
    ],
)
def test_plain_values_stay_as_they_are_and_take_no_pydantic(
    monkeypatch: pytest.MonkeyPatch, annotation: Any, value: Any
) -> None:
    def unused(annotation: Any) -> Any:
        raise AssertionError(f"pydantic was asked about {annotation}")

    monkeypatch.setattr("wf.parameters._adapter", unused)
    converted = convert(Param(name="option", type=annotation), value, "a test")
    assert (type(converted), converted) == (type(value), value)
    assert converted is not value or not isinstance(value, list), "a list is a copy"


@pytest.mark.parametrize(("annotation", "value"), [(int, True), (list[int], [1, True]), (float, "fast"), (str, 3)])
def test_values_of_a_similar_plain_type_are_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(UsageError, match="option 'option' wants"):
        convert(Param(name="option", type=annotation), value, "a test")


def test_a_whole_number_for_a_float_is_converted() -> None:
    converted = convert(Param(name="option", type=float), 2, "a test")
    assert (type(converted), converted) == (float, 2.0)
