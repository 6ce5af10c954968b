"""Writes the index of the catalogue anew: ``python -m wf_kornia.index``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from wf_kornia.losses import MEMBERS, REFUSED
from wf_kornia.options import index as written


def index() -> str:
    """The text of the index."""
    library = f"kornia {version('kornia')}"
    return written(library, "wf_kornia.index", MEMBERS, REFUSED)


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
