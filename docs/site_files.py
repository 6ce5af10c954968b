"""Adds the files beside `docs/` to the site that their links lead to: README, CONTRIBUTING, CHANGELOG and examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""The pages at the top of the repository, and what they are called on the site."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the examples."""
    for source, name in PAGES.items():
        text = _moved((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    for example in sorted((ROOT / "examples").glob("*.*")):
        files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to files beside `docs/` lead to their places on the site."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"\]\((?:\.\./)+examples/", f"]({up}examples/", markdown)
    return re.sub(r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md", rf"]({up}\1.md", markdown)


def _moved(text: str) -> str:
    """A page of the top, as one of `docs/`."""
    return re.sub(r"\]\(docs/", "](", text)
