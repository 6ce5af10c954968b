"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import LossTraits, OptimizerTraits, SchedulerTraits

LOSSES = {
    "numbers": LossTraits(predictions="real", targets=("real", "multilabel", "one_hot", "binary")),
    "real": LossTraits(predictions="real", targets=("real",)),
    "classes": LossTraits(predictions="logits", targets=("class_index", "mask", "one_hot"), weighted=True),
    "log_classes": LossTraits(predictions="log_probs", targets=("class_index", "mask"), weighted=True),
    "margins": LossTraits(predictions="logits", targets=("class_index",)),
    "shares": LossTraits(predictions="log_probs", targets=("one_hot",)),
    "chances": LossTraits(predictions="probs", targets=("binary", "multilabel", "one_hot")),
    "yes_no": LossTraits(predictions="logits", targets=("binary", "multilabel", "one_hot")),
    "labels": LossTraits(predictions="logits", targets=("multilabel", "one_hot")),
}
"""The traits of each group of the index."""


@hookimpl
def wf_components() -> list[Catalogue]:
    """The catalogues of this package."""
    return [
        Catalogue(
            "optimizer",
            "torch",
            "wf_torch.optimizers:build",
            "wf_torch:optimizers.txt",
            summary="an optimizer of torch.optim",
            groups={
                "plain": OptimizerTraits(),
                "closure": OptimizerTraits(step="closure"),
                "groups": OptimizerTraits(built_from="groups"),
            },
            like="wf_torch.optimizers:described",
        ),
        Catalogue(
            "scheduler",
            "torch",
            "wf_torch.schedulers:build",
            "wf_torch:schedulers.txt",
            summary="a schedule of torch.optim.lr_scheduler",
            groups={
                "epoch": SchedulerTraits(interval="epoch"),
                "step": SchedulerTraits(interval="step"),
                "evaluation": SchedulerTraits(interval="evaluation"),
            },
            like="wf_torch.schedulers:described",
        ),
        Catalogue(
            "loss",
            "torch",
            "wf_torch.losses:build",
            "wf_torch:losses.txt",
            summary="a loss of torch.nn",
            groups=LOSSES,
            like="wf_torch.losses:described",
        ),
    ]
