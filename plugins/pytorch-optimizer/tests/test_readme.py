"""The commands, names and counts in README.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from wf_pytorch_optimizer.members import WRAPPERS
from wf_pytorch_optimizer.plugin import wf_components

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
CATALOGUE = wf_components()[0]


@pytest.mark.catalogue  # it starts a process with torch
def test_commands_of_the_readme_run(wf: Any) -> None:
    commands = re.findall(r"^\$ wf (.*)$", README, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        done = wf(*shlex.split(command))
        assert done.code == 0, done.stderr
        assert "pytorch-optimizer" in done.stdout


def test_names_and_groups_of_the_readme_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", README, re.MULTILINE)
    assert {group for group, _ in rows} == set(CATALOGUE.groups)
    for group, members in rows:
        for name in re.findall(r"`(\w+)`", members):
            assert CATALOGUE.member(name).traits == CATALOGUE.groups[group], name
    assert all(f"`{name}`" in README for name in WRAPPERS)


def test_the_counts_are_right() -> None:
    working = set(CATALOGUE.names()) - set(CATALOGUE.refused())
    assert f"{len(working - set(WRAPPERS))} of the 128" in README
    assert len(WRAPPERS) == 9
