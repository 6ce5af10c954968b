"""Writes the indexes of the catalogues anew: ``python -m wf_timm.index``."""

from __future__ import annotations

from pathlib import Path

import timm

from wf_timm import models, optimizers


def models_index() -> str:
    """The text of the models' index."""
    lines = [
        f"{name} refused {models.REFUSED[name]}" if name in models.REFUSED else name for name in models.index_names()
    ]
    return _text(lines)


def optimizers_index() -> str:
    """The text of the optimizers' index."""
    refused = optimizers.refused()
    lines = []
    for name in optimizers.names():
        group = "create_graph" if name in optimizers.SECOND_ORDER else "plain"
        lines.append(
            f"{name} refused {refused[name]}" if name in refused else f"{name} {group} {optimizers.summary(name)}"
        )
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "\n".join([f"# generated from timm {timm.__version__} by: python -m wf_timm.index", *lines]) + "\n"


INDEXES = {"models.txt": models_index, "optimizers.txt": optimizers_index}
"""What makes each index."""

if __name__ == "__main__":
    for file, text in INDEXES.items():
        Path(__file__).with_name(file).write_text(text(), encoding="utf-8")
