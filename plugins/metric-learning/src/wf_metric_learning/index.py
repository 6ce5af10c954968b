"""Regenerates the index of the catalogue: ``python -m wf_metric_learning.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_metric_learning.losses import MEMBERS, REFUSED


def index() -> str:
    """The text of the index."""
    rows = [(name, one.group, one.summary) for name, one in MEMBERS.items()]
    rows += [(name, "refused", why) for name, why in REFUSED.items()]
    return index_text("pytorch-metric-learning", "wf_metric_learning.index", sorted(rows))


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
