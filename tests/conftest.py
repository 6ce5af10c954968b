"""Fixtures for the tests that cross packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import ADAPTER_FOLDERS, EXAMPLE, FOLDERS, build_wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every distribution and of the example plugin.

    Tests that ask for it are marked ``xdist_group("wheels")``, so that one worker builds them once.
    """
    return build_wheels([*FOLDERS.values(), *ADAPTER_FOLDERS.values(), EXAMPLE], tmp_path_factory.mktemp("wheels"))
