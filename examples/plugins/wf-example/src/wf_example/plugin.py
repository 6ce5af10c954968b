"""Declares the components of this package. Imports nothing heavy: targets are strings, loaded on first use."""

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
            summary="squared for small errors, absolute for large ones, smooth in between",
            traits=LossTraits(predictions="real", targets=("real",)),
        ),
        Component(
            "trainer",
            "hand-gradient",
            "wf_example.trainer:HandGradient",
            summary="gradient descent for a line, with a hand-written gradient",
            traits=TrainerTraits(steps=()),  # it updates the weights itself and uses no optimizer
        ),
        Component(
            "dataset",
            "points",
            "wf_example.dataset:points",
            summary="eleven points near a line",
            traits=DatasetTraits(targets="real", inputs="vector"),
        ),
    ]
