"""Declares the command and the sections of this package; imports nothing heavy."""

from __future__ import annotations

from wf import Command, Component, hookimpl
from wf_charts import SectionTraits


@hookimpl
def wf_commands() -> list[Command]:
    """The command of this package."""
    return [
        Command(
            name="report",
            section="Use a run",
            summary="Write one HTML page on runs: figures, curves, mistakes, comparison, and how to repeat them.",
            target="wf_report.cli:report",
            alone=True,
            order=55,
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """The sections of this package."""
    return [
        Component(
            "report-section",
            "runs",
            "wf_report.sections:Runs",
            "the runs and their outcomes",
            traits=SectionTraits(order=10),
        ),
        Component(
            "report-section",
            "final-figures",
            "wf_report.sections:Figures",
            "the figures of each run and split",
            traits=SectionTraits(order=20),
        ),
        Component(
            "report-section",
            "curves-of-runs",
            "wf_report.sections:CurvesOfRuns",
            "the curves of several runs, one over the other",
            traits=SectionTraits(order=40),
        ),
        Component(
            "report-section",
            "plots-of-runs",
            "wf_report.sections:PlotsOfRuns",
            "all plots of runs, comparisons and searches",
            traits=SectionTraits(order=50),
        ),
        Component(
            "report-section",
            "environment",
            "wf_report.sections:Environment",
            "versions, device and data",
            traits=SectionTraits(order=80),
        ),
        Component(
            "report-section",
            "repeat",
            "wf_report.sections:Repeat",
            "how to repeat the runs",
            traits=SectionTraits(order=90),
        ),
    ]
