"""Chooses the input and target columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets

from wf.errors import UsageError, unknown

TARGETS = ("label", "labels", "target", "y")
"""Default names of target columns."""

Kind = Literal["numbers", "array", "text", "image", "other"]


@dataclass(frozen=True)
class Columns:
    """The columns of a run."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    kind: Kind
    """Of the inputs."""
    features: Mapping[str, Any]


def choose(
    features: Mapping[str, Any], inputs: str | Sequence[str] | None, targets: str | Sequence[str] | None, path: Path
) -> Columns:
    """The columns named by the user, or inferred from names and kinds.

    Raises:
        UsageError: Listing the columns, if one is missing or the choice is ambiguous.
    """
    chosen = _named(targets, features, path) or _usual_target(features, path)
    given = _named(inputs, features, path) or tuple(name for name in features if name not in chosen)
    both = [name for name in given if name in chosen]
    if both or not given:
        what = f"column '{both[0]}' is both input and target" if both else "no column is left for the inputs"
        raise UsageError(f"'{path}': {what}\n  {_listed(features)}")
    kinds = {name: kind_of(features[name]) for name in given}
    if len(given) == 1 and kinds[given[0]] != "other":
        return Columns(given, chosen, kinds[given[0]], features)
    wrong = [name for name, kind in kinds.items() if kind != "numbers"]
    if wrong:
        raise UsageError(
            f"'{path}': {len(given)} input columns, of which {', '.join(map(repr, wrong))} "
            f"{'is' if len(wrong) == 1 else 'are'} not numeric\n  {_listed(features)}\n"
            "  inputs are columns of numbers, or one column of text, images or lists of numbers: --dataset.inputs"
        )
    return Columns(given, chosen, "numbers", features)


def kind_of(feature: Any) -> Kind:
    """The kind of a column."""
    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "numbers"
    if isinstance(feature, datasets.Value):
        return "text" if is_text(feature) else "numbers" if is_number(feature) else "other"
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return "array" if kind_of(feature.feature) in ("numbers", "array") else "other"
    arrays = (datasets.Array2D, datasets.Array3D, datasets.Array4D, datasets.Array5D)
    return "array" if isinstance(feature, arrays) else "other"


def is_text(feature: Any) -> bool:
    """Whether a column holds strings."""
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "string_view")


def is_number(feature: Any) -> bool:
    """Whether a column holds numbers or booleans."""
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def is_whole(feature: Any) -> bool:
    """Whether a column holds integers or booleans."""
    return is_number(feature) and not feature.dtype.startswith("float")


def _named(names: str | Sequence[str] | None, features: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names or ())
    for name in found:
        if name not in features:
            hint = 'several columns are a list of texts: \'["a", "b"]\'' if name.startswith("[") or "," in name else ""
            raise UsageError(unknown("column", name, features, hint, of=f"'{path}'"))
    return found


def _usual_target(features: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    usual = [name for name in features if name.lower() in TARGETS]
    if len(usual) != 1:
        why = f"{len(usual)} columns could be the target" if usual else "which column is the target?"
        raise UsageError(f"'{path}': {why}\n  {_listed(features)}\n  name it: --dataset.target")
    return (usual[0],)


def _listed(features: Mapping[str, Any]) -> str:
    return f"columns: {', '.join(f'{name} ({describe(feature)})' for name, feature in features.items())}"


def describe(feature: Any) -> str:
    """The kind of a column, in a word."""
    if isinstance(feature, datasets.ClassLabel):
        return f"{feature.num_classes} labels"
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return f"lists of {describe(feature.feature)}"
    return str(feature.dtype) if isinstance(feature, datasets.Value) else type(feature).__name__.lower()
