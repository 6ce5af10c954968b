"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, Component, hookimpl
from wf_charts import PlotTraits, SectionTraits


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="compare",
            section="Train",
            summary="Train rows of runs with the same seeds and compare them, or compare finished runs.",
            target="wf_compare.cli:compare",
            alone=True,
            order=30,
        ),
    ]


@hookimpl
def wf_components() -> list[Component]:
    """The plots of comparisons, and the section of this package in reports."""
    return [
        Component(
            "plot",
            "comparison-means",
            "wf_compare.tables.plots:Means",
            "the mean of each row with its interval",
            traits=PlotTraits(of="comparison", order=10),
        ),
        Component(
            "plot",
            "comparison-differences",
            "wf_compare.tables.plots:Differences",
            "differences from the first row with intervals",
            traits=PlotTraits(of="comparison", order=20),
        ),
        Component(
            "report-section",
            "comparison",
            "wf_compare.tables.report:Comparison",
            "means with intervals, and differences from the first row",
            traits=SectionTraits(order=15),
        ),
    ]
