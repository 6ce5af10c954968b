"""Chooses the plots of a directory, and draws directories of several runs. Imports nothing heavy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf.blame import FAILURES
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.errors import DataError, PluginError, UsageError, WfError, article
from wf.registry import Registry
from wf_building.builder import Builder
from wf_building.built import origin_of
from wf_charts import Chart, PlotTraits
from wf_run.directory.rundir import RunDirectory

_LOG = logging.getLogger("wf")
KIND = "plot"
RUN = "run"
"""`PlotTraits.of` of plots that draw runs."""


@dataclass(kw_only=True)
class Drawn:
    """The result of drawing a run, or a directory of several."""

    charts: list[Chart] = field(default_factory=list)
    """The charts in the order of their plots."""
    missing: list[str] = field(default_factory=list)
    """The plots that could not be drawn, with reasons."""
    broken: list[str] = field(default_factory=list)
    """The failed plots, with their errors."""


def kind_of(path: Path) -> str | None:
    """The kind of a directory of several runs, such as ``comparison``; None for others."""
    try:
        found = RunDirectory(path).manifest.get("kind") if (path / "manifest.json").is_file() else None
    except DataError:  # damaged
        return None
    return None if found is None else str(found)


def fitting(registry: Registry, task: str | None, names: Sequence[str] = (), of: str = RUN) -> list[Entry]:
    """The plots for runs of a task, or for directories of a kind, in their order.

    Args:
        registry: Where they are looked up.
        task: The name of the task; None if there is none or it is unknown.
        names: The requested plots; empty for all.
        of: `RUN`, or the kind of the directory.

    Raises:
        UsageError: For a plot that does not exist, or that is for something else.
    """
    if names:
        found = [registry.find(KIND, name) for name in names]
        for entry in found:
            check_draws(entry, of)
            if not _is_for(entry, task):
                tasks = ", ".join(traits_of(entry).tasks)
                raise UsageError(f"plot '{entry.component.name}' is for the tasks {tasks}, and the run's is {task}")
        return found
    entries = [entry for entry in registry.entries(KIND) if traits_of(entry).of == of and _is_for(entry, task)]
    return sorted(entries, key=lambda entry: (traits_of(entry).order, entry.component.name))


def check_draws(entry: Entry, of: str) -> None:
    """Refuse a plot that draws something else.

    Raises:
        UsageError: With what it draws.
    """
    own = traits_of(entry).of
    if own != of:
        raise UsageError(f"plot '{entry.component.name}' draws {article(own)} {own}, not {article(of)} {of}")


def draw_group(place: Path, of: str, registry: Registry, names: Sequence[str] = (), by: str | None = None) -> Drawn:
    """The charts of a directory of several runs.

    Args:
        place: The directory.
        of: Its kind.
        registry: Where plots are looked up.
        names: The plots; empty for all of this kind.
        by: The figure by which runs are compared, if the user named one.

    Raises:
        UsageError: For a plot that does not exist or draws something else, or if no plot draws this kind.
    """
    entries = fitting(registry, None, names, of)
    if not entries:
        raise UsageError(f"no plot draws {article(of)} {of}\n  see: wf list plots")
    builder = Builder(registry, {"run_dir": place, **({} if by is None else {"monitor": by})})
    drawn = Drawn()
    for entry in entries:
        title = title_of(entry)
        with Harmless(title, drawn):
            drawn.charts += charts_of(builder.build(KIND, {"use": registry.full_name(entry)}).value)
    return drawn


def charts_of(plot: Any) -> list[Chart]:
    """The charts of a built plot.

    Raises:
        PluginError: If it gives something else.
    """
    found = list(plot.charts())
    wrong = next((one for one in found if not isinstance(one, Chart)), None)
    if wrong is not None:
        raise PluginError(f"charts() gave {type(wrong).__name__}, which is not a chart of wf_charts")
    return found


def title_of(entry: Entry) -> str:
    """The plot in messages."""
    return f"plot '{entry.component.name}' of {origin_of(entry)}"


def write(charts: Sequence[Chart], place: Path, format: str) -> list[Path]:
    """Write charts into ``plots/`` of a directory.

    Raises:
        UsageError: For an unknown format.
        SaveError: If a file cannot be written.
    """
    from wf_charts.pictures import FORMATS, save

    if format not in FORMATS:
        raise UsageError(f"plots: format is '{format}'; choose from {', '.join(FORMATS)}")
    return [save(chart, place / "plots", format) for chart in charts]


class Harmless(AbstractContextManager["Harmless"]):
    """Context for one plot: a failure is recorded, and the others are drawn."""

    def __init__(self, title: str, drawn: Drawn) -> None:
        self._title, self._drawn, self.failed = title, drawn, False

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None or not isinstance(error, FAILURES):
            return False
        self.failed = True
        place = self._drawn.missing if isinstance(error, UsageError | DataError) else self._drawn.broken
        place.append(f"{self._title}: {error if isinstance(error, WfError) else describe(error)}")
        _LOG.debug("%s failed", self._title, exc_info=error)
        return True


def traits_of(entry: Entry) -> PlotTraits:
    """The traits of a plot, by default those of a plot of predictions for all tasks."""
    traits = entry.component.traits
    return traits if isinstance(traits, PlotTraits) else PlotTraits()


def _is_for(entry: Entry, task: str | None) -> bool:
    tasks = traits_of(entry).tasks
    return not tasks or task in tasks
