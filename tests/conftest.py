"""Fixtures for the tests that cross packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import ADAPTER_FOLDERS, DETECTION, EXAMPLE, FOLDERS, build_wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every distribution and of the example plugins.

    Tests that use it are marked ``xdist_group("wheels")``, so that one worker builds them once.
    """
    folders = (*FOLDERS.values(), *ADAPTER_FOLDERS.values(), EXAMPLE, DETECTION)
    return build_wheels(folders, tmp_path_factory.mktemp("wheels"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print counts of tests: ``record_property("counted", "3 kills survived")``."""
    passed = terminalreporter.getreports("passed")
    counted = [text for report in passed for name, text in report.user_properties if name == "counted"]
    if counted:
        terminalreporter.section("counted")
        for text in counted:
            terminalreporter.line(str(text))
