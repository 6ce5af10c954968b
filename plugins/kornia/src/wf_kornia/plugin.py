"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import LossTraits

GROUPS = {
    "regions": LossTraits(predictions="logits", targets=("mask",)),
    "shares": LossTraits(predictions="probs", targets=("mask",)),
    "classes": LossTraits(predictions="logits", targets=("class_index", "mask")),
    "yes_no": LossTraits(predictions="logits", targets=("binary", "multilabel", "one_hot")),
    "real": LossTraits(predictions="real", targets=("real",)),
}
"""The traits of each group of the index."""


@hookimpl
def wf_components() -> list[Catalogue]:
    """The losses of kornia."""
    return [
        Catalogue(
            "loss",
            "kornia",
            "wf_kornia.losses:build",
            "wf_kornia:index.txt",
            summary="a loss of kornia",
            groups=GROUPS,
            like="wf_kornia.losses:described",
        )
    ]
