"""The fixture `browser`, for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by playwright.

    Without chromium, its tests are skipped; with WF_REQUIRE_CHROMIUM=1, as in CI, they fail.
    """
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        why = f"none of {', '.join(CHROMIUM)} is installed: apt-get install chromium"
        assert os.environ.get("WF_REQUIRE_CHROMIUM") != "1", why
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
