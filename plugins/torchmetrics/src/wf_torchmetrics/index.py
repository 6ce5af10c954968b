"""Rewrites the index of the catalogue: ``python -m wf_torchmetrics.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_torchmetrics.members import MEMBERS
from wf_torchmetrics.refused import refused


def index() -> str:
    """The text of the index."""
    rows = [(name, one.group, one.summary) for name, one in MEMBERS.items()]
    rows += [(name, "refused", why) for name, why in refused().items()]
    return index_text("torchmetrics", "wf_torchmetrics.index", sorted(rows))


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
