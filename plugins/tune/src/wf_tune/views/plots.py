"""The plots of a search."""

from __future__ import annotations

from pathlib import Path

from wf_charts import Chart
from wf_tune.directory import Directory
from wf_tune.views import charts


class History:
    """The figure of each trial, and the best so far.

    Args:
        run_dir: The search.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def charts(self) -> list[Chart]:
        """The chart; none before the first trial has ended."""
        search = Directory(self.run_dir)
        by, larger = search.definition["by"], search.definition["larger_is_better"]
        chart = charts.history(search.trials().all(), by, larger_is_better=larger)
        return [] if chart is None else [chart]


class Importance:
    """The share of the figure's variance that each setting explains (fANOVA).

    Args:
        run_dir: The search.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def charts(self) -> list[Chart]:
        """The chart; none with too few trials or settings."""
        chart = charts.importance(Directory(self.run_dir).trials().importances())
        return [] if chart is None else [chart]


class Slices:
    """The figure over each setting.

    Args:
        run_dir: The search.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def charts(self) -> list[Chart]:
        """One chart for all ranges, and one for each choice."""
        search = Directory(self.run_dir)
        return charts.slices(search.trials().all(), search.space, search.definition["by"])
