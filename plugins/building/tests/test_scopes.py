"""Scopes: their declaration, and the tables of a run file that names them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest

from wf.declarations.component import Component
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf.errors import PluginError, UsageError
from wf.traits import TrainerTraits
from wf_building.scopes import SCOPED, entry_of_scopes, scopes_of, with_scopes

NAMES = ("generator", "discriminator")
WAYS = "\n  write: --model.generator NAME, --model.discriminator NAME"


class Scoped:
    scopes: Mapping[str, Any] = {"model": ["a", "b"], "optimizer": ("c",)}


def make_scoped(start: int = 0) -> Scoped:
    return Scoped()


def entry(target: Any, traits: TrainerTraits | None = None, *, plugin: bool = False) -> Entry:
    own = Plugin(name="gans", distribution="wf-gans", version="1", module="gans", status="ok") if plugin else None
    return Entry(Component(kind="trainer", name="x", target=target, traits=traits), own)


def test_a_plugin_declares_scopes_in_its_traits_and_own_code_as_an_attribute() -> None:
    declared = {"model": ("a", "b"), "optimizer": ("c",)}
    traits = TrainerTraits(scopes={"model": ("x",)})
    assert scopes_of(Scoped) == declared
    assert scopes_of(functools.partial(Scoped)) == declared
    assert scopes_of(entry(Scoped)) == declared
    assert scopes_of(entry(functools.partial(Scoped))) == declared
    assert scopes_of(entry(make_scoped)) == {}
    assert scopes_of(object) == {}
    assert scopes_of(entry(Scoped, traits, plugin=True)) == {"model": ("x",)}
    assert scopes_of(entry(Scoped, plugin=True)) == {}, "the class of a plugin is not imported for that"
    assert scopes_of(entry("gone:Trainer", plugin=True)) == {}


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        ([("model", ("a",))], "a trainer's scopes are names by kind, not list"),
        ({"loss": ("a",)}, "a trainer has scopes of model and optimizer, not of 'loss'"),
        *(
            ({"model": names}, f"the scopes of model are a tuple of different Python names, not {names!r}")
            for names in ("generator", 3, (), {"a"}, ("a", "a"), ("use",), ("a", 1), ("a", "no name"))
        ),
    ],
)
def test_invalid_scopes_are_refused(scopes: Any, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        scopes_of(type("Wrong", (), {"scopes": scopes}))
    assert str(caught.value) == words


def test_a_table_of_scopes_has_a_component_for_each() -> None:
    made = entry_of_scopes("model", NAMES).component
    assert (made.kind, made.name, made.target) == ("model", SCOPED, dict)
    assert made.summary == "a model for each of generator, discriminator"
    assert [(param.name, param.kind, param.help) for param in made.params or ()] == [
        ("generator", "model", "The model of that name."),
        ("discriminator", "model", "The model of that name."),
    ]


@pytest.mark.parametrize("marked", [{}, {"use": SCOPED}])
def test_every_scope_is_filled_in_declaration_order(marked: dict[str, str]) -> None:
    table = {**marked, "discriminator": "mlp", "generator": {"use": "linear", "width": 3}}
    filled = with_scopes("model", NAMES, table, "gan", None)
    assert filled == {"use": SCOPED, "generator": {"use": "linear", "width": 3}, "discriminator": {"use": "mlp"}}
    assert list(filled) == ["use", *NAMES], "in the order of the declaration"
    assert "use" in table or not marked


def test_the_default_is_for_scopes_without_a_name() -> None:
    table = {"generator": {"lr": 0.1}, "discriminator": {"use": "sgd", "lr": 1}}
    filled = with_scopes("optimizer", (*NAMES, "third"), table, "gan", "adam")
    assert filled["generator"] == {"use": "adam", "lr": 0.1}
    assert filled["discriminator"] == {"use": "sgd", "lr": 1}
    assert filled["third"] == {"use": "adam"}
    assert table["generator"] == {"lr": 0.1}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"use": "mlp"}, f"trainer 'gan' has several models, so 'mlp' is ambiguous{WAYS}"),
        (
            {"generator": "mlp", "judge": 1, "other": 2},
            f"trainer 'gan' has several models, and 'judge' is not one of them{WAYS}\n"
            "  an option of one of them: --model.generator.judge VALUE",
        ),
        ({"generator": "mlp"}, f"trainer 'gan' needs a model for discriminator{WAYS}"),
        ({}, f"trainer 'gan' needs a model for generator and discriminator{WAYS}"),
        (
            {"generator": "mlp", "discriminator": {"width": 3}},
            f"model.discriminator: its options are given, but no model is named{WAYS}",
        ),
    ],
)
def test_invalid_tables_of_scopes_are_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_scopes("model", NAMES, table, "gan", None)
    assert str(caught.value) == words
