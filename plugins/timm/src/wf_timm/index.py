"""Rewrites the indexes of the catalogues: ``python -m wf_timm.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_timm import models, optimizers


def models_index() -> str:
    """The text of the models' index."""
    rows = [
        (name, "refused" if name in models.REFUSED else "", models.REFUSED.get(name, ""))
        for name in models.index_names()
    ]
    return index_text("timm", "wf_timm.index", rows)


def optimizers_index() -> str:
    """The text of the optimizers' index."""
    refused = optimizers.refused()
    rows = []
    for name in optimizers.names():
        group = "create_graph" if name in optimizers.SECOND_ORDER else "plain"
        rows.append((name, "refused", refused[name]) if name in refused else (name, group, optimizers.summary(name)))
    return index_text("timm", "wf_timm.index", rows)


INDEXES = {"models.txt": models_index, "optimizers.txt": optimizers_index}
"""The function that makes each index."""

if __name__ == "__main__":
    for file, text in INDEXES.items():
        Path(__file__).with_name(file).write_text(text(), encoding="utf-8")
