"""Writes the indices of the catalogues anew: ``python -m wf_torch.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_torch import losses, optimizers, schedulers

MODULES = {"losses": losses, "optimizers": optimizers, "schedulers": schedulers}


def index(kinds: str) -> str:
    """The text of an index."""
    module = MODULES[kinds]
    rows = [(name, one.group, one.summary) for name, one in module.MEMBERS.items()]
    rows += [(name, "refused", why) for name, why in module.REFUSED.items()]
    return index_text("torch", "wf_torch.index", sorted(rows, key=lambda row: row[0].lower()))


if __name__ == "__main__":
    for name in MODULES:
        Path(__file__).with_name(f"{name}.txt").write_text(index(name), encoding="utf-8")
