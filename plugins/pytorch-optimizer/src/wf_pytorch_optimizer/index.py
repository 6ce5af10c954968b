"""Regenerates the index of the catalogue: ``python -m wf_pytorch_optimizer.index``."""

from __future__ import annotations

from pathlib import Path

from pytorch_optimizer import get_supported_optimizers

from wf_catalogues.members import index_text
from wf_pytorch_optimizer.members import REFUSED, WRAPPERS, member

GROUPS: dict[str, tuple[str, ...]] = {
    "closure": ("alig", "emofact", "emolynx", "emonavi", "gsam", "lbfgs", "wsam"),
    "create_graph": ("adahessian", "sophiah"),
    "two_step": ("friendlysam", "looksam", "sam"),
    "modes": ("schedulefreeadamw", "schedulefreeradam", "schedulefreesgd", "schedulefreewrapper", "splus"),
    "groups": ("adago", "adamuon", "apollo", "fira", "galore", "muon", "muonclip", "normuon"),
    "model": ("adammini", "lorarite"),
    "fused": ("adalomo", "lomo"),
}
"""The members of each group of the catalogue, except the plain optimizers."""


def index() -> str:
    """The text of the index."""
    rows = [_row(name) for name in sorted([*get_supported_optimizers(), *WRAPPERS])]
    return index_text("pytorch-optimizer", "wf_pytorch_optimizer.index", rows)


def _row(name: str) -> tuple[str, str, str]:
    if name in REFUSED:
        return name, "refused", REFUSED[name]
    group = next((group for group, names in GROUPS.items() if name in names), "plain")
    return name, group, member(name).summary


if __name__ == "__main__":
    Path(__file__).with_name("index.txt").write_text(index(), encoding="utf-8")
