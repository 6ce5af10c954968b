"""The metrics of torchmetrics that wf cannot use, with the reason."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from wf_torchmetrics.members import MEMBERS

FAMILIES = {
    "aggregation": "it aggregates figures, and judges no predictions",
    "audio": "it judges audio against audio, and no task of wf has that",
    "classification": "",
    "clustering": "",
    "detection": "it judges boxes or instances, which wf's own metric map does, with COCO's code",
    "image": "it judges images that a model makes, and no task of wf has them",
    "multimodal": "it judges two kinds of input against each other, and no task of wf has that",
    "nominal": "",
    "regression": "",
    "retrieval": "it wants to know which samples belong to a query, and no dataset of wf says that",
    "segmentation": "",
    "shape": "it judges point clouds, and no task of wf has them",
    "text": "it judges text that a model writes, and no task of wf has that",
    "video": "it judges videos against videos, and no task of wf has that",
    "wrappers": "it wraps another metric of torchmetrics; name that one",
}
"""The library's subpackages, each with the reason that holds for all of it."""

_CURVE = "it gives a curve, whose length depends on the data, and no figure; {} is the area below it"
_GROUPS = "it wants to know each sample's group, and no dataset of wf says that"
_SHARES = "it compares two distributions, and no dataset of wf has distributions as targets"

SINGLE: dict[str, str] = {
    **{f"{task}ROC": _CURVE.format(f"{task}AUROC") for task in ("", "Binary", "Multiclass", "Multilabel")},
    **{
        f"{task}PrecisionRecallCurve": _CURVE.format(f"{task}AveragePrecision")
        for task in ("", "Binary", "Multiclass", "Multilabel")
    },
    "BinaryFairness": _GROUPS,
    "BinaryGroupStatRates": _GROUPS,
    "ContinuousRankedProbabilityScore": "it judges several forecasts of each sample, and a model of wf gives one",
    "JensenShannonDivergence": _SHARES,
    "KLDivergence": _SHARES,
    "FleissKappa": "it judges the agreement of several raters of each sample, and no dataset of wf has them",
    "HausdorffDistance": "it fails where a class is missing in a mask, and where masks are not square",
    "ClusterAccuracy": "it needs the package torch-linear-assignment, which wf-torchmetrics does not depend on",
}
"""Those of a family that is otherwise used."""


def refused() -> dict[str, str]:
    """Every metric of the library that is not in `MEMBERS`, with the reason."""
    found = {name: why for family, why in FAMILIES.items() for name in exported(family) if name not in MEMBERS}
    return {name: SINGLE.get(name, why) for name, why in found.items()}


def exported(family: str) -> list[str]:
    """The names that a subpackage exports, those of metrics whose further packages are not installed included."""
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
