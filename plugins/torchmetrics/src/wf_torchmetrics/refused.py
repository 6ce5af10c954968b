"""The metrics of torchmetrics that wf cannot use, with the reason."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from wf_torchmetrics.members import MEMBERS

FAMILIES = {
    "aggregation": "it aggregates figures rather than judging predictions",
    "audio": "it compares audio with audio, and wf has no such task",
    "classification": "",
    "clustering": "",
    "detection": "it judges boxes or instances: use wf's own metric map, which uses COCO's code",
    "image": "it judges generated images, and wf has no such task",
    "multimodal": "it compares two kinds of input with each other, and wf has no such task",
    "nominal": "",
    "regression": "",
    "retrieval": "it needs the query of each sample, which no dataset of wf has",
    "segmentation": "",
    "shape": "it judges point clouds, and wf has no such task",
    "text": "it judges generated text, and wf has no such task",
    "video": "it compares videos with videos, and wf has no such task",
    "wrappers": "it wraps another metric of torchmetrics; name that one",
}
"""The library's subpackages that cannot be used, each with the reason."""

_CURVE = "it gives a curve, whose length depends on the data, rather than a figure; {} is the area under it"
_GROUPS = "it needs each sample's group, which no dataset of wf has"
_SHARES = "it compares two distributions, and no dataset of wf has distributions as targets"

SINGLE: dict[str, str] = {
    **{f"{task}ROC": _CURVE.format(f"{task}AUROC") for task in ("", "Binary", "Multiclass", "Multilabel")},
    **{
        f"{task}PrecisionRecallCurve": _CURVE.format(f"{task}AveragePrecision")
        for task in ("", "Binary", "Multiclass", "Multilabel")
    },
    "BinaryFairness": _GROUPS,
    "BinaryGroupStatRates": _GROUPS,
    "ContinuousRankedProbabilityScore": "it judges several forecasts of each sample, but a model of wf gives one",
    "JensenShannonDivergence": _SHARES,
    "KLDivergence": _SHARES,
    "FleissKappa": "it judges the agreement of several raters of each sample, and no dataset of wf has them",
    "HausdorffDistance": "it fails if a class is missing in a mask, or if masks are not square",
    "ClusterAccuracy": "it needs the package torch-linear-assignment, which wf-torchmetrics does not depend on",
}
"""Metrics that cannot be used, of families that can."""


def refused() -> dict[str, str]:
    """Every metric of the library that is not in `MEMBERS`, with the reason."""
    found = {name: why for family, why in FAMILIES.items() for name in exported(family) if name not in MEMBERS}
    return {name: SINGLE.get(name, why) for name, why in found.items()}


def exported(family: str) -> list[str]:
    """The names that a subpackage exports, including metrics with missing optional packages."""
    spec = find_spec(f"torchmetrics.{family}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    if family == "aggregation":  # a module without __all__
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        return [name for name in classes if name != "BaseAggregator"]
    lists = [node.value for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.AugAssign)) and _is_all(node)]
    return [ast.literal_eval(name) for one in lists if isinstance(one, ast.List) for name in one.elts]


def _is_all(node: ast.Assign | ast.AugAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
