"""Writes the index of the catalogue anew: ``python -m wf_smp.index``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from wf_smp.losses import MEMBERS, REFUSED
from wf_smp.options import index as written


def index() -> str:
    """The text of the index."""
    library = f"segmentation-models-pytorch {version('segmentation-models-pytorch')}"
    return written(library, "wf_smp.index", MEMBERS, REFUSED)


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
