"""Writes the indices of the catalogues anew: ``python -m wf_torch.index``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from wf_torch import losses, members, optimizers, schedulers

MODULES = {"losses": losses, "optimizers": optimizers, "schedulers": schedulers}


def index(kinds: str) -> str:
    """The text of an index."""
    module = MODULES[kinds]
    library = f"torch {version('torch').partition('+')[0]}"
    text: str = members.index(library, module.MEMBERS, module.REFUSED)
    return text


if __name__ == "__main__":
    for name in MODULES:
        Path(__file__).with_name(f"{name}.txt").write_text(index(name), encoding="utf-8")
