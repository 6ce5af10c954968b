"""What this package brings to wf. Imports nothing heavy: the targets are strings, loaded on first use."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import DatasetTraits, LossTraits, TrainerTraits


@hookimpl
def wf_components() -> list[Component]:
    """A loss, a trainer and a dataset."""
    return [
        Component(
            "loss",
            "log-cosh",
            "wf_example.loss:log_cosh",
            summary="squared near zero, absolute far from it, smooth between",
            traits=LossTraits(predictions="real", targets=("real",)),
        ),
        Component(
            "trainer",
            "hand-gradient",
            "wf_example.trainer:HandGradient",
            summary="gradient descent for a line, the gradient written out by hand",
            traits=TrainerTraits(steps=()),  # it makes the updates itself: no optimizer fits it
        ),
        Component(
            "dataset",
            "points",
            "wf_example.dataset:points",
            summary="eleven points near a line",
            traits=DatasetTraits(targets="real", inputs="vector"),
        ),
    ]
