"""Writes the index of the catalogue anew: ``python -m wf_metric_learning.index``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from wf_metric_learning.losses import MEMBERS, REFUSED


def index() -> str:
    """The text of the index."""
    library = f"pytorch-metric-learning {version('pytorch-metric-learning')}"
    lines = {name: f"{name} {member.group} {member.summary}" for name, member in MEMBERS.items()}
    lines |= {name: f"{name} refused {why}" for name, why in REFUSED.items()}
    header = f"# generated from {library} by: python -m wf_metric_learning.index"
    return "\n".join([header, *(lines[name] for name in sorted(lines))]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
