"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import OptimizerTraits

GROUPS: dict[str, OptimizerTraits] = {
    "plain": OptimizerTraits(),
    "closure": OptimizerTraits(step="closure"),
    "create_graph": OptimizerTraits(step="create_graph"),
    "two_step": OptimizerTraits(step="two_step"),
    "modes": OptimizerTraits(modes=True),
    "groups": OptimizerTraits(built_from="groups"),
    "model": OptimizerTraits(built_from="model"),
    "fused": OptimizerTraits(step="closure", built_from="model"),
}
"""The traits of each group of the index."""


@hookimpl
def wf_components() -> list[Catalogue]:
    """The optimizers of pytorch-optimizer."""
    return [
        Catalogue(
            "optimizer",
            "pytorch-optimizer",
            "wf_pytorch_optimizer.members:build",
            "wf_pytorch_optimizer:index.txt",
            summary="an optimizer of pytorch-optimizer",
            groups=GROUPS,
            like="wf_pytorch_optimizer.members:described",
        )
    ]
