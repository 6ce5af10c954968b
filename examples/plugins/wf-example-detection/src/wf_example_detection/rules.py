"""A rule of what fits what. Imports nothing heavy: it is asked before torch is imported."""

from __future__ import annotations

from typing import Any

from wf import Verdict

SHAPES = "shapes"
"""The form of what detectors give."""


def finds_boxes(part: Any, known: Any) -> Verdict:
    """Of a model: shape detection needs one that finds boxes and computes its own losses.

    Args:
        part: The model, a `wf_fitting.parts.Part`.
        known: What is known of the run, a `wf_fitting.parts.Facts`.
    """
    if known.task is None or known.task.name != "shape-detection":
        return Verdict(True)
    if part.traits is None:
        return Verdict(None, ("it does not say whether it finds boxes",))
    if part.traits.predictions == SHAPES:
        return Verdict(True)
    return Verdict(
        False, (f"shape-detection needs a model that gives {SHAPES}, this one gives {part.traits.predictions}",)
    )
