"""``wf doctor``: what it prints, its JSON and its exit code. Single findings: corelib/tests/test_doctor.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workspace import PLUGINS

from wf_cli.doctor.command import SECTIONS
from wf_cli.doctor.examining import CHECKS

KEYS = ["level", "check", "subject", "message", "fix"]


@pytest.fixture
def healthy(tmp_path: Path) -> dict[str, str | None]:
    """An environment without the user's folders and settings."""
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CACHE_HOME": str(tmp_path), "WF_DATA_DIR": None}
    return {**config, "CUDA_VISIBLE_DEVICES": "", "WF_DISABLE_PLUGIN_AUTOLOAD": None}


def test_a_healthy_environment(
    wf: Any, healthy: dict[str, str | None], folder: Path, snapshot: Callable[[], object]
) -> None:
    before = snapshot()
    result = wf("doctor", "--json", "--only-builtin", env=healthy)
    assert (result.code, result.stderr) == (0, "")
    findings = result.json()
    assert all(list(finding) == KEYS for finding in findings)
    assert {finding["level"] for finding in findings} == {"ok"}
    assert {finding["check"] for finding in findings} == set(CHECKS) - {"allow-list"}
    assert {finding["subject"] for finding in findings if finding["check"] == "plugin"} == set(PLUGINS)
    assert all(finding["message"] and finding["fix"] is None for finding in findings)
    assert snapshot() == before


def test_every_check_is_in_one_section_of_the_report() -> None:
    assert sorted(check for checks in SECTIONS.values() for check in checks) == sorted(CHECKS)


def test_report_for_reading(wf: Any, healthy: dict[str, str | None], folder: Path) -> None:
    (folder / "slow.py").write_text("import time\ntime.sleep(0.3)\n" + (folder / "plug.py").read_text())
    result = wf("doctor", "-p", "broken.py", "-p", "slow.py", env={**healthy, "COLUMNS": "100"})
    assert result.code == 1
    assert result.stderr == ""
    assert re.findall(r"^\w+$", result.stdout, re.MULTILINE) == list(SECTIONS)
    assert "\n  ok  python       CPython  3." in result.stdout
    assert (
        "\n  PROBLEM  plugin  broken\n"
        "      failed: ModuleNotFoundError: No module named 'no_such_package_of_anybody'\n"
        "      try: install the package that provides it; wf also looked for it beside broken.py"
    ) in result.stdout
    assert "\n  note  light-import  slow\n      declaring its components takes " in result.stdout
    assert "\n  PROBLEM  target  slow\n      target 'my_losses:Loss' of loss mine does not exist: " in result.stdout
    assert re.search(r"\n2 problems, \d+ notes?\n$", result.stdout)
    assert all(len(line) <= 100 for line in result.stdout.splitlines() if str(folder) not in line)


def test_unreadable_settings_are_a_problem_and_no_plugin_is_imported(
    wf: Any, healthy: dict[str, str | None], folder: Path
) -> None:
    (folder / "pyproject.toml").write_text("[tool.wf]\nalow = []\n")
    (folder / "witness.py").write_text("open('imported', 'w')\n")
    result = wf("doctor", "--json", "-p", "witness.py", env=healthy)
    assert result.code == 1
    (found,) = [finding for finding in result.json() if finding["level"] == "problem"]
    assert (found["check"], "unknown setting 'alow'" in found["message"]) == ("settings", True)
    assert not (folder / "imported").exists()


def test_strict_exits_with_code_3_for_a_broken_plugin(wf: Any, healthy: dict[str, str | None], folder: Path) -> None:
    result = wf("doctor", "-p", "broken.py", "--strict", env=healthy)
    assert result.code == 3
    assert "PROBLEM  plugin  broken" in result.stdout
    assert "plugin 'broken' could not be loaded" in result.stderr


def test_an_unknown_plugin_on_the_command_line_is_a_usage_error(wf: Any, healthy: dict[str, str | None]) -> None:
    result = wf("doctor", "-p", "no:wf-loses", env=healthy)
    assert (result.code, "did you mean 'wf-losses'" in result.stderr) == (2, True)
