"""A library's classes as members of a catalogue."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf import Catalogue, FromRun
from wf.declarations.component import REQUIRED
from wf.errors import PluginError
from wf.parameters import from_signature, type_name
from wf.traits import LossTraits
from wf_catalogues.members import (
    Empty,
    Member,
    descriptions,
    headline,
    index_text,
    option,
    parameters_of,
    stand_in,
    without_markup,
    writable,
)

if TYPE_CHECKING:
    from fractions import Fraction


class Tensor:
    """A value that no run file can hold."""


class Library:
    """A class like a library's.

    Args:
        weight (Tensor, optional): One factor a :class:`~zoo.Label`,
            see ``zoo.labels``.
        eps: A **small** number.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        eps: float = 0,
        reduction: str = "mean",
        hook: Callable[[int], int] | None = None,
        **rest: Any,
    ) -> None:
        """Make one.

        Args:
            eps: Not this one.
            reduction: `mean` or `sum`.
        """
        self.given = {"weight": weight, "eps": eps, "reduction": reduction, "hook": hook, **rest}


class Fresh:
    """One that is made in `__new__`."""

    def __new__(cls, task: Literal["a", "b"], *args: Any) -> Fresh:
        return super().__new__(cls)


def test_parameters_are_the_named_ones_with_their_annotations() -> None:
    found = parameters_of(Library)
    assert list(found) == ["weight", "eps", "reduction", "hook"]
    assert found["weight"].annotation == Tensor | None
    assert parameters_of(Fresh) == {"task": option("task", Literal["a", "b"]).replace(kind=found["eps"].kind)}


def test_an_unresolvable_annotation_does_not_affect_the_others() -> None:
    def function(one: Fraction, two: int = 3) -> None: ...

    assert {name: row.annotation for name, row in parameters_of(function).items()} == {"one": "Fraction", "two": int}


@pytest.mark.parametrize(
    ("annotation", "left"),
    [
        (float, float),
        (Any, Any),
        (Empty, Any),
        (Literal["a", "b"], Literal["a", "b"]),
        (Annotated[int, FromRun("total_steps")], Annotated[int, FromRun("total_steps")]),
        (Optional[Union[float, Tensor]], float | None),  # noqa: UP007, UP045 - as libraries write it
        (float | Tensor, float),
        (Tensor | None, None),
        (Tensor, None),
        (Callable[[int], int], None),
        ("Unknown", None),
        (dict[str, Any], dict[str, Any]),
        (dict[str | type, float], None),
        (tuple[None, float], tuple[None, float]),
        (tuple[float | Tensor, float | Tensor], tuple[float, float]),
        (tuple[int, ...], tuple[int, ...]),
        (list[Tensor], None),
        (list, list),
        (int | Sequence[int], int | list[int]),
    ],
)
def test_writable_keeps_the_types_that_toml_can_hold(annotation: Any, left: Any) -> None:
    assert writable(annotation) == left


def test_writable_replaces_mapped_types() -> None:
    assert writable(Tensor | None, {Tensor: list[float]}) == list[float] | None
    assert writable(list[Tensor], {Tensor: float}) == list[float]
    assert writable(Sequence, {Sequence: list[float]}) == list[float]


def test_the_first_description_of_a_parameter_wins() -> None:
    assert descriptions(Library) == {
        "weight": "One factor a zoo.Label, see zoo.labels.",
        "eps": "A small number.",
        "reduction": "mean or sum.",
    }
    assert descriptions(Library, markup=True)["eps"] == "A **small** number."


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (":math:`x` and :class:`~torch.Tensor`", "x and torch.Tensor"),
        ("see :ref:`the notes <notes>`", "see the notes"),
        ("`Decoupled <https://example.org/a>`__ decay", "Decoupled decay"),
        ("``None``, `None` or **none**", "None, None or none"),
        ("2 * x ** 2 - y ** 2: as it is", "2 * x ** 2 - y ** 2: as it is"),
    ],
)
def test_markup_is_taken_out(text: str, plain: str) -> None:
    assert without_markup(text) == plain


@given(st.text(alphabet=st.characters(exclude_characters="`*:")))
def test_a_text_without_markup_stays(text: str) -> None:
    assert without_markup(text) == text


def test_a_stand_in_has_the_options_and_wraps_the_class() -> None:
    rows = [option("eps", float, 1.0), *parameters_of(Fresh).values()]
    function = stand_in(Library, rows, headline("a class", "zoo.Library"), {"eps": "Small."})
    assert function.__name__ == "Library"
    assert inspect.unwrap(function) is Library
    assert (function.__doc__ or "").startswith("A class (`zoo.Library`).\n\nArgs:\n")
    task, eps = from_signature(function)
    assert (task.name, type_name(task.type), task.default, task.help) == ("task", "a|b", REQUIRED, "")
    assert (eps.name, eps.type, eps.default, eps.help) == ("eps", float, 1.0, "Small.")


MEMBER = Member(
    Library,
    "a class",
    module="zoo",
    more=(option("num_classes", int),),
    fixed={"reduction": "sum"},
    types={"eps": float},
    help={"num_classes": "Of the data."},
    instead={Tensor: list[float]},
)


def test_a_member_describes_its_changed_options() -> None:
    rows = {row.name: row for row in from_signature(MEMBER.described())}
    assert list(rows) == ["num_classes", "weight", "eps"]
    assert rows["num_classes"].source is None
    assert rows["num_classes"].help == "Of the data."
    assert rows["weight"].type == list[float] | None
    assert repr(rows["eps"].default) == "0.0"
    assert rows["eps"].help == "A small number."


def test_a_member_is_made_with_its_fixed_arguments() -> None:
    assert MEMBER.make(eps=2.0).given == {"weight": None, "eps": 2.0, "reduction": "sum", "hook": None}


def test_parameters_that_toml_cannot_hold_need_a_default() -> None:
    class Picky:
        def __init__(self, weight: Tensor, hook: Callable[[int], int] | None = None) -> None: ...

    with pytest.raises(PluginError, match="no run file can hold the parameter 'weight' of Picky"):
        Member(Picky, "one", module="zoo").parameters()
    assert Member(Picky, "one", module="zoo", without=("weight",)).parameters() == []


def test_an_index_is_read_back(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("One", "plain", "the first one"), ("two", "", ""), ("three", "refused", "it is one too many")]
    text = index_text("pluggy", "zoo.index", rows)
    assert text.splitlines()[0] == f"# generated from pluggy {version('pluggy')} by: python -m zoo.index"
    (tmp_path / "zoo_of_names").mkdir()
    (tmp_path / "zoo_of_names" / "__init__.py").touch()
    (tmp_path / "zoo_of_names" / "index.txt").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    traits = LossTraits(predictions="raw", targets=("real",))
    catalogue = Catalogue("loss", "zoo", "zoo:make", "zoo_of_names:index.txt", groups={"plain": traits})
    assert catalogue.usable() == ["One", "two"]
    assert catalogue.refused() == {"three": "it is one too many"}
    assert catalogue.member("One").summary == "the first one"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("no name", "", "")], "'x/no name' is not a component name"),
        ([("one", "", ""), ("one", "", "")], "'one' is there twice"),
        ([("one", "", "a summary")], "'one' has the group ''"),
        ([("one", "two words", "")], "'one' has the group 'two words'"),
        ([("one", "plain", "two\nlines")], "use one word and one line"),
    ],
)
def test_an_index_that_could_not_be_read_back_is_refused(rows: list[tuple[str, str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_text("pluggy", "zoo.index", rows)
