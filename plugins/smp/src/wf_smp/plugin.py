"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import LossTraits

GROUPS = {
    "regions": LossTraits(predictions="logits", targets=("mask",)),
    "classes": LossTraits(predictions="logits", targets=("class_index", "mask")),
    "focal": LossTraits(predictions="logits", targets=("class_index", "mask", "binary", "multilabel"), weighted=True),
    "yes_no": LossTraits(predictions="logits", targets=("binary", "multilabel", "one_hot")),
}
"""The traits of each group of the index."""


@hookimpl
def wf_components() -> list[Catalogue]:
    """The losses of segmentation-models-pytorch."""
    return [
        Catalogue(
            "loss",
            "smp",
            "wf_smp.losses:build",
            "wf_smp:index.txt",
            summary="a loss of segmentation-models-pytorch",
            groups=GROUPS,
            like="wf_smp.losses:described",
        )
    ]
