"""Regenerates the index of the catalogue: ``python -m wf_kornia.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_kornia.losses import MEMBERS, REFUSED


def index() -> str:
    """The text of the index."""
    rows = [(name, one.group, one.summary) for name, one in MEMBERS.items()]
    rows += [(name, "refused", why) for name, why in REFUSED.items()]
    return index_text("kornia", "wf_kornia.index", sorted(rows))


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
