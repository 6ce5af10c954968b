"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, hookimpl
from wf.traits import MetricTraits

JUDGES: dict[str, MetricTraits] = {
    "tasks": MetricTraits(predictions="probs", targets=("class_index", "binary", "multilabel", "mask")),
    "single": MetricTraits(predictions="probs", targets=("class_index", "binary", "mask")),
    "ranks": MetricTraits(predictions="probs", targets=("class_index", "binary", "multilabel")),
    "chances": MetricTraits(predictions="probs", targets=("class_index", "binary")),
    "binary": MetricTraits(predictions="probs", targets=("binary", "class_index")),
    "classes": MetricTraits(predictions="probs", targets=("class_index", "mask")),
    "class_ranks": MetricTraits(predictions="probs", targets=("class_index",)),
    "labels": MetricTraits(predictions="probs", targets=("multilabel",)),
    "rows": MetricTraits(predictions="probs", targets=("multilabel", "mask")),
    "pixels": MetricTraits(predictions="probs", targets=("mask",)),
    "masks": MetricTraits(predictions="labels", targets=("mask",)),
    "partitions": MetricTraits(predictions="labels", targets=("class_index", "binary")),
    "clouds": MetricTraits(predictions="raw", targets=("class_index",)),
    "numbers": MetricTraits(predictions="raw", targets=("real",)),
}
"""The traits of the metrics' groups, without the direction."""

DIRECTIONS: dict[str, bool | None] = {"up": True, "down": False, "open": None}
"""Whether a larger figure is better; unknown if it is not a single number."""


def _groups() -> dict[str, MetricTraits]:
    return {
        f"{name}-{direction}": MetricTraits(
            predictions=traits.predictions, targets=traits.targets, larger_is_better=larger
        )
        for name, traits in JUDGES.items()
        for direction, larger in DIRECTIONS.items()
    }


@hookimpl
def wf_components() -> list[Catalogue]:
    """The metrics of torchmetrics."""
    return [
        Catalogue(
            "metric",
            "torchmetrics",
            "wf_torchmetrics.metric:build",
            "wf_torchmetrics:index.txt",
            summary="a metric of torchmetrics",
            groups=_groups(),
            like="wf_torchmetrics.members:described",
        )
    ]
