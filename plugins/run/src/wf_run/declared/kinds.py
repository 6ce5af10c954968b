"""The kinds of further validation sets, and of what is drawn and reported of runs."""

from __future__ import annotations

from wf import Kind
from wf_charts import PlotTraits, SectionTraits

KINDS = (
    Kind(
        name="validation",
        plural="validations",
        summary="further validation sets, each a dataset under a name: --validation.NAME DATASET",
    ),
    Kind(
        name="plot",
        summary="charts of a run, for wf plot, the hook plots and reports",
        several=True,
        traits=PlotTraits,
        objects="an object with charts(), and update(predicted) where it needs predictions",
    ),
    Kind(
        name="report-section",
        summary="a section of the page of wf report",
        several=True,
        of_runs=False,
        traits=SectionTraits,
        objects="an object with section(content)",
    ),
)
