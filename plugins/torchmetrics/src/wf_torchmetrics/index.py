"""Writes the index of the catalogue anew: ``python -m wf_torchmetrics.index``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from wf_torchmetrics.members import MEMBERS
from wf_torchmetrics.refused import refused


def index() -> str:
    """The text of the index."""
    header = f"# generated from torchmetrics {version('torchmetrics')} by: python -m wf_torchmetrics.index"
    lines = {name: f"{name} {member.group} {member.summary}" for name, member in MEMBERS.items()}
    lines |= {name: f"{name} refused {why}" for name, why in refused().items()}
    return "\n".join([header, *(lines[name] for name in sorted(lines))]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
