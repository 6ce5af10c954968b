"""Values as they were typed, and their conversion to the types of options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.declarations.component import FromRun, Param
from wf.errors import UsageError
from wf.parameters import convert
from wf.typed import Repeated, plain, typed


def option(annotation: Any, **fields: Any) -> Param:
    return Param(name="it", type=annotation, **fields)


@pytest.mark.parametrize(
    "annotation", [str, str | None, str | list[str], Annotated[str, "a note"], str | tuple[str, ...]]
)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (typed(2021, "2021"), "2021"),
        (typed(1000, "1_000"), "1_000"),
        (typed(1.5, "1.50"), "1.50"),
        (typed(0.001, "1e-3"), "1e-3"),
        (typed(True, "true"), "true"),
        (typed(False, "false"), "false"),
        ("yes", "yes"),
    ],
)
def test_text_options_keep_the_typed_text(annotation: Any, value: Any, text: str) -> None:
    assert convert(option(annotation), value, "x") == text


@pytest.mark.parametrize("annotation", [Path, Path | None])
def test_path_options_keep_the_typed_text(annotation: Any) -> None:
    assert convert(option(annotation), typed(2021, "2021"), "x") == Path("2021")


@pytest.mark.parametrize("annotation", [list[str], tuple[str, ...], str | list[str], list[str] | None])
def test_lists_of_text_keep_the_typed_text(annotation: Any) -> None:
    assert [*convert(option(annotation), typed([2021, True, typed(1.5, "1.50"), "a"]), "x")] == [
        "2021",
        "true",
        "1.50",
        "a",
    ]


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (int, typed(1000, "1_000"), 1000),
        (float, typed(0.001, "1e-3"), 0.001),
        (float, 2, 2.0),
        (bool, typed(True, "true"), True),
        (bool, True, True),
        (int | str, 3, 3),
        (Any, typed(0.001, "1e-3"), 0.001),
        (Callable[[int, int], int] | list[int], [typed(1, "1")], [1]),
        (tuple[int, str] | list[float], [typed(0.001, "1e-3"), 2], [0.001, 2.0]),
        (Any, typed(True, "true"), True),
        ("Unknown", typed(1.5, "1.50"), 1.5),
        (Literal[1, 2], typed(1, "1"), 1),
        (list[float], [typed(0.001, "1e-3"), 2], [0.001, 2.0]),
        (dict[str, float], {"a": typed(0.001, "1e-3")}, {"a": 0.001}),
    ],
)
def test_numbers_stay_numbers(annotation: Any, value: Any, wanted: Any) -> None:
    made = convert(option(annotation), value, "x")
    assert made == wanted
    assert type(made) is type(wanted)


def test_choices_that_look_like_numbers_keep_the_typed_text() -> None:
    assert convert(option(Literal["2", "3"]), typed(2, "2"), "x") == "2"


@pytest.mark.parametrize("value", [2021, True, 1.5, [1]])
def test_numbers_in_run_files_are_refused_for_text_options(value: Any) -> None:
    with pytest.raises(UsageError, match="wants str"):
        convert(option(str), value, "x")


@pytest.mark.parametrize("annotation", [list[str], str | tuple[str, ...], str | list[str]])
def test_a_repeated_option_is_a_list(annotation: Any) -> None:
    assert [*convert(option(annotation), Repeated(["a", typed(["b", 3]), typed(4, "4")]), "x")] == ["a", "b", "3", "4"]


@given(annotation=st.sampled_from([str, int, float, Any, str | None]), values=st.lists(st.integers(2, 9), min_size=2))
def test_the_last_value_of_a_repeated_single_option_counts(annotation: Any, values: list[int]) -> None:
    given_values = Repeated(map(typed, values))
    with mock.patch("wf.typed._LOG") as log:
        found = [convert(option(annotation), given_values, "x") for _ in range(2)]
    assert found == [convert(option(annotation), given_values[-1], "x")] * 2
    assert log.warning.call_count == 1


def test_the_last_of_repeated_values_must_fit() -> None:
    with pytest.raises(UsageError, match="wants int"):
        convert(option(int), Repeated([1, "two"]), "x")


def test_a_number_beyond_float32_is_refused() -> None:
    assert convert(option(float), float("inf"), "x") == float("inf")
    with pytest.raises(UsageError, match="largest in float32"):
        convert(option(float), 1e39, "x")


@pytest.mark.parametrize("value", [0, -1])
def test_counts_filled_in_by_the_run_must_be_at_least_one(value: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        convert(option(Annotated[int, FromRun("num_outputs")], source="num_outputs"), value, "x")


@pytest.mark.parametrize("value", [3, "adam", [3], {"a": 1}])
def test_values_only_the_run_can_make_are_refused_as_options(value: Any) -> None:
    with pytest.raises(UsageError, match="filled in by the run"):
        convert(option(Any, source="params"), value, "x")
    thing = object()
    assert convert(option(Any, source="params"), [thing], "x") == [thing]


@pytest.mark.parametrize(
    ("annotation", "default", "value", "hint"),
    [(list[int], [512], "abc", "'[512]'"), (list[int], [], 64, "'[64]'"), (list[str], [], "abc", "'[\"abc\"]'")],
)
def test_the_suggested_list_matches_the_element_type(annotation: Any, default: Any, value: Any, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        convert(option(annotation, default=default), value, "x")
    assert f"write a list, for example {hint}" in str(error.value)


def test_plain_drops_the_typed_text() -> None:
    assert plain(typed(True, "true")) is True
    assert type(plain(typed(1000, "1_000"))) is int
    assert type(plain(typed(1.0, "1.00"))) is float
