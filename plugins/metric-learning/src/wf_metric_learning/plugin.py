"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import LossTraits, MetricTraits

EMBEDDINGS = LossTraits(predictions="embeddings", targets=("class_index",))
NEIGHBOURS = MetricTraits(predictions="raw", targets=("class_index",), larger_is_better=True)


@hookimpl
def wf_components() -> list[Component | Catalogue]:
    """The losses of pytorch-metric-learning, and metrics of embeddings."""
    return [
        Catalogue(
            "loss",
            "metric-learning",
            "wf_metric_learning.losses:build",
            "wf_metric_learning:index.txt",
            summary="a loss of pytorch-metric-learning",
            groups={"pairs": EMBEDDINGS, "classes": EMBEDDINGS},
            like="wf_metric_learning.losses:described",
        ),
        Component(
            "metric",
            "precision-at-1",
            "wf_metric_learning.neighbours:PrecisionAt1",
            summary="share of embeddings whose nearest neighbour has the same class",
            traits=NEIGHBOURS,
        ),
        Component(
            "metric",
            "map-at-r",
            "wf_metric_learning.neighbours:MeanAveragePrecisionAtR",
            summary="mean average precision over the R nearest, R being the number of others in the class",
            traits=NEIGHBOURS,
        ),
    ]
