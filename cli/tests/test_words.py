"""Kinds, settings, run values and conditions, as ``wf list`` and ``wf show`` print them."""

from __future__ import annotations

from typing import Any

import pytest

from wf.declarations.conditions import CONDITIONS
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.values import VALUES

PLUGIN = """
from wf import Condition, Kind, Param, RunValue, hookimpl

@hookimpl
def wf_kinds(): return [Kind(name="tower", summary="a tower of layers")]

@hookimpl
def wf_settings(): return [Param(name="storeys", type=int, default=3, help="Layers in a tower.")]

@hookimpl
def wf_values(): return [RunValue(name="height", type="int", summary="how high", provider=lambda: 1)]

@hookimpl
def wf_conditions():
    return [Condition(name="ground", summary="the ground", means="it sinks", level="warning", target=lambda: 1)]
"""


@pytest.mark.parametrize(
    ("word", "vocabulary"), [("kinds", KINDS), ("settings", GENERAL), ("value", VALUES), ("conditions", CONDITIONS)]
)
def test_every_kind_setting_value_and_condition_is_listed(wf: Any, word: str, vocabulary: Any) -> None:
    records = wf("list", word, "--json").json()
    own = [record["name"] for record in records if record["plugin"] in ("wf-core", "wf-run")]
    assert own == [name for name in vocabulary if vocabulary.owner(name) in ("wf-core", "wf-run")]
    assert len(own) > 10
    assert all(record["summary"] for record in records)
    text = wf("list", word, env={"COLUMNS": "80"}).stdout
    assert all(name in text for name in own)


@pytest.mark.parametrize(
    ("kind", "name", "fact"),
    [
        ("kind", "tower", "option     --tower"),
        ("setting", "storeys", "default   3"),
        ("value", "height", "type      int"),
        ("condition", "ground", "means     it sinks"),
    ],
)
def test_kinds_settings_values_and_conditions_of_a_plugin(
    wf: Any, tmp_path: Any, kind: str, name: str, fact: str
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    listed = wf("list", f"{kind}s", "-p", "mine.py").stdout
    assert f"  {name} " in listed
    shown = wf("show", kind, name, "-p", "mine.py").stdout
    assert fact in shown
    assert "provider   mine" in shown.replace("provider  mine", "provider   mine")
    gone = wf("show", kind, name)
    assert gone.code == 2
    assert f"unknown {kind} '{name}'" in gone.stderr
    assert f"see: wf list {kind}s" in gone.stderr


def test_a_search_that_finds_nothing(wf: Any) -> None:
    done = wf("list", "kinds", "--search", "zzz")
    assert (done.code, done.stdout) == (0, "")
    assert "nothing found for 'zzz'" in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("list kinds --fits digits", ["--fits lists components, but kinds are not components", "wf list kinds"]),
        ("show setting", ["'setting' is not a component", "wf list settings", "wf show setting NAME"]),
    ],
)
def test_component_requests_about_kinds_and_settings_are_refused(wf: Any, line: str, words: list[str]) -> None:
    done = wf(*line.split())
    assert (done.code, done.stdout) == (2, "")
    assert [word for word in words if word not in done.stderr] == []
