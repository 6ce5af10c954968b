"""The documentation as a site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_examples import PAGES
from workspace import ROOT


@pytest.mark.exhaustive
def test_the_site_has_every_page_and_no_broken_link(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "contains a link" not in done.stderr  # to a file that is left out
    site = tmp_path / "site"
    for page in PAGES:
        folder = site / page.removeprefix("docs/").removesuffix(".md").replace("README", "")
        assert (folder / "index.html").exists(), page
        assert (folder / "index.md").exists(), page  # the page as Markdown
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    assert all(f"/{page.removeprefix('docs/').removesuffix('.md')}/index.md" in listed for page in PAGES[1:])
    assert (site / "examples" / "r3_fashion_mnist.toml").exists()
    assert "wf run" in (site / "search" / "search_index.json").read_text(encoding="utf-8")
    foreign = re.findall(r'(?:src|href)="https?://([^/"]+)[^"]*\.(?:js|css|woff2?)"', (site / "index.html").read_text())
    assert not foreign  # it works without a network
