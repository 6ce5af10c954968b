"""The table that `make bench` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workspace import ROOT

from wf.discovery.modules import import_module

goals = import_module(str(ROOT / "benchmarks" / "_goals.py"))
everything = import_module(str(ROOT / "benchmarks" / "_all.py"))


@pytest.mark.parametrize(
    ("value", "goal", "shown", "met"),
    [
        (1.0499, {"at_most": 1.05}, "1.05 times", True),
        (1.0501, {"at_most": 1.05}, "1.05 times", False),
        (2.6, {"at_least": 2.6}, "2.6 times", True),
        (2.5, {"at_least": 2.6}, "2.5 times", False),
    ],
)
def test_a_figure_is_compared_with_its_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, goal: dict[str, float], shown: str, met: bool
) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv(goals.FILE, str(file))
    goals.figure("an epoch", value, "times", **goal)
    assert json.loads(file.read_text()) == {
        "claim": "an epoch",
        "value": shown,
        "goal": f"at {'most' if 'at_most' in goal else 'least'} {next(iter(goal.values()))} times",
        "met": met,
    }


def test_the_table_replaces_the_text_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"Before.\n{everything.BEGIN}old\n{everything.END}After.\n")
    monkeypatch.setattr(everything, "PAGE", page)
    figures = [{"claim": "an epoch", "value": "3 s", "goal": "at most 2 s", "met": False}]
    everything.write(everything.table(figures, 12.4))
    text = page.read_text()
    assert "| an epoch | 3 s | at most 2 s | **not met** |" in text
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "12 minutes" in text


def test_the_page_has_markers_for_the_table() -> None:
    page = (ROOT / "docs" / "speed.md").read_text()
    assert page.index(everything.BEGIN) < page.index(everything.END)


def test_every_script_is_run_or_left_out_for_a_reason() -> None:
    there = {file.stem for file in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert {*everything.ARGUMENTS, *everything.LEFT_OUT, *everything.WITH_ADAPTERS} <= there
