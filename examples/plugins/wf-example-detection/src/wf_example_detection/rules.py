"""A compatibility rule. Imports nothing heavy, because it is evaluated before torch is imported."""

from __future__ import annotations

from typing import Any

from wf import Verdict

SHAPES = "shapes"
"""The form of a detector's predictions."""


def finds_boxes(part: Any, known: Any) -> Verdict:
    """Shape detection needs a model that outputs boxes.

    Args:
        part: The model, a `wf_fitting.parts.Part`.
        known: The known facts about the run, a `wf_fitting.parts.Facts`.
    """
    if known.task is None or known.task.name != "shape-detection":
        return Verdict(True)
    if part.traits is None:
        return Verdict(None, ("it does not declare whether it outputs boxes",))
    if part.traits.predictions == SHAPES:
        return Verdict(True)
    return Verdict(
        False, (f"shape-detection needs a model that outputs {SHAPES}, this one outputs {part.traits.predictions}",)
    )
