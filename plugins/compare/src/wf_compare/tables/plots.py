"""The charts of a comparison: means and differences with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from wf import FromRun
from wf_charts import Chart, Interval, Intervals
from wf_compare.comparison import Request, figure_of
from wf_compare.results import larger_is_better
from wf_compare.study import Study
from wf_compare.tables.table import Table, make_table

BETTER = {True: "; larger is better", False: "; smaller is better", None: ""}


class Means:
    """The mean of each row with its 95 % interval.

    Args:
        run_dir: The comparison.
        monitor: The figure; by default that of the comparison.
    """

    def __init__(self, run_dir: Path, monitor: Annotated[str | None, FromRun("monitor")] = None) -> None:
        self.run_dir, self.monitor = run_dir, monitor

    def charts(self) -> list[Chart]:
        """The chart."""
        return means(table_of(self.run_dir, self.monitor))


class Differences:
    """The difference of each row from the first one, paired by seed, with its 95 % interval.

    Args:
        run_dir: The comparison.
        monitor: The figure; by default that of the comparison.
    """

    def __init__(self, run_dir: Path, monitor: Annotated[str | None, FromRun("monitor")] = None) -> None:
        self.run_dir, self.monitor = run_dir, monitor

    def charts(self) -> list[Chart]:
        """The chart."""
        return differences(table_of(self.run_dir, self.monitor))


def table_of(place: Path, by: str | None) -> Table:
    """The table of a comparison in its present state."""
    study = Study(place)
    figure, rows = figure_of(study, Request(by=by)), study.rows()
    return make_table(rows, figure, larger_is_better(figure, rows), study.path, study.manifest["jobs"])


def means(table: Table) -> list[Chart]:
    """The means of a table; nothing without finished runs."""
    rows = [
        Interval(name=line.row.name, mean=line.estimate.mean, low=low, high=high, note=f"{line.estimate.num} runs")
        for line in table.lines
        if line.estimate is not None
        for low, high in [line.estimate.interval or (None, None)]
    ]
    title, label = f"{table.by}: mean and 95 % interval", f"{table.by}{BETTER[table.larger_is_better]}"
    return [Intervals(name="means", title=title, rows=rows, x_label=label)] if rows else []


def differences(table: Table) -> list[Chart]:
    """The differences in a table; nothing without pairs of runs."""
    rows = [
        Interval(name=line.row.name, mean=found.estimate.mean, low=low, high=high, note=found.verdict)
        for line in table.lines
        if (found := line.difference) is not None
        for low, high in [found.estimate.interval or (None, None)]
    ]
    title = f"{table.by}: difference from {table.lines[0].row.name}"
    about = "Paired by seed. A row whose interval contains 0 is not distinguished from the first one."
    chart = Intervals(name="differences", title=title, rows=rows, x_label="difference", reference=0.0, about=about)
    return [chart] if rows else []
