"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import ModelTraits, OptimizerTraits


@hookimpl
def wf_components() -> list[Catalogue]:
    """timm's models and optimizers."""
    return [
        Catalogue(
            "model",
            "timm",
            "wf_timm.models:build",
            "wf_timm:models.txt",
            summary="a model of timm",
            traits=ModelTraits(inputs="image", per="sample"),
        ),
        Catalogue(
            "optimizer",
            "timm",
            "wf_timm.optimizers:build",
            "wf_timm:optimizers.txt",
            summary="an optimizer of timm",
            traits=OptimizerTraits(),
            groups={"plain": OptimizerTraits(), "create_graph": OptimizerTraits(step="create_graph")},
            like="wf_timm.optimizers:described",
        ),
    ]
