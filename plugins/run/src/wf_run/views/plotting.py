"""Draws a run: selects its plots, passes them their data, and collects their charts."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wf.blame import FAILURES
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.errors import DataError, PluginError, UsageError, WfError
from wf.registry import Registry
from wf_base import tree
from wf_base.predicted import Predicted
from wf_base.training.modes import evaluated
from wf_building.builder import Builder
from wf_building.built import origin_of
from wf_charts import Chart, PlotTraits
from wf_run.api import reopen
from wf_run.description import read_description
from wf_run.directory.kept import KEPT
from wf_run.opening import opened

_LOG = logging.getLogger("wf")
KIND = "plot"


@dataclass(kw_only=True)
class Drawn:
    """The result of drawing a run."""

    charts: list[Chart] = field(default_factory=list)
    """The charts in the order of their plots."""
    missing: list[str] = field(default_factory=list)
    """The plots that could not be drawn, with reasons."""
    broken: list[str] = field(default_factory=list)
    """The failed plots, with their errors."""


@dataclass
class _Plot:
    """A plot in progress."""

    title: str
    order: int
    value: Any
    needs: str
    charts: list[Chart] = field(default_factory=list)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(getattr(self.value, "splits", ("test",)))


def fitting(registry: Registry, task: str | None, names: Sequence[str] = ()) -> list[Entry]:
    """The plots for runs of a task, in their order.

    Args:
        registry: Where they are looked up.
        task: The name of the task; None if there is none or it is unknown.
        names: The requested plots; empty for all.

    Raises:
        UsageError: For a plot that does not exist, or that is for other tasks.
    """
    if names:
        found = [registry.find(KIND, name) for name in names]
        for entry in found:
            if not _is_for(entry, task):
                tasks = ", ".join(_traits(entry).tasks)
                raise UsageError(f"plot '{entry.component.name}' is for the tasks {tasks}, and the run's is {task}")
        return found
    entries = [entry for entry in registry.entries(KIND) if _is_for(entry, task)]
    return sorted(entries, key=lambda entry: (_traits(entry).order, entry.component.name))


def draw(
    builder: Builder,
    entries: Sequence[Entry],
    tables: Sequence[Mapping[str, Any]] = (),
    data: Any = None,
    model: nn.Module | None = None,
    *,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    finished: Sequence[Any] = (),
) -> Drawn:
    """Let plots draw a run.

    Args:
        builder: Builds them with the run's values.
        entries: The plots.
        tables: Their tables in the run file, with options.
        data: The run's data; None leaves out the plots of predictions.
        model: The model behind its strategy.
        around: Returns a context in which the model is called.
        finished: Plots that are already built.
    """
    drawn, plots = Drawn(), list[_Plot]()
    options = {str(table["use"]).partition("@")[0]: table for table in tables}
    for entry in entries:
        title = f"plot '{entry.component.name}' of {origin_of(entry)}"
        with _harmless(title, drawn):
            table = options.get(entry.component.name, {"use": builder.registry.full_name(entry)})
            made = builder.build(KIND, table).value
            plots.append(_Plot(title, _traits(entry).order, made, _traits(entry).needs))
    for made in finished:
        needs = "predictions" if hasattr(made, "update") else "records"
        plots.append(_Plot(f"plot '{type(made).__name__}'", 0, made, needs))
    if data is None or model is None:
        plots = [plot for plot in plots if plot.needs == "records"]
    else:
        plots = _fed(plots, data, model, around, drawn)
    for plot in plots:
        with _harmless(plot.title, drawn):
            found = list(plot.value.charts())
            wrong = next((one for one in found if not isinstance(one, Chart)), None)
            if wrong is not None:
                raise PluginError(f"charts() gave {type(wrong).__name__}, which is not a chart of wf_charts")
            drawn.charts += found
    return drawn


def _fed(
    plots: list[_Plot],
    data: Any,
    model: nn.Module,
    around: Callable[[], AbstractContextManager[Any]],
    drawn: Drawn,
) -> list[_Plot]:
    """Pass each split to the plots that want it, in one pass; failed plots are left out."""
    wanted = dict.fromkeys(split for plot in plots if plot.needs == "predictions" for split in plot.splits)
    for split in wanted:
        takers = [plot for plot in plots if plot.needs == "predictions" and split in plot.splits]
        if split not in data.splits:
            names = ", ".join(plot.title.partition(" of ")[0] for plot in takers if plot.splits == (split,))
            if names:
                drawn.missing.append(f"{names}: the run has no {split} split")
            plots = [plot for plot in plots if plot.needs != "predictions" or plot.splits != (split,)]
            continue
        with around():
            for seen in _predicted(data, model, split):
                for plot in list(takers):
                    with _harmless(plot.title, drawn) as safe:
                        plot.value.update(seen)
                    if safe.failed:
                        takers.remove(plot)
                        plots = [one for one in plots if one is not plot]
    return plots


def _predicted(data: Any, model: nn.Module, split: str) -> Iterator[Predicted]:
    """A split with the model outputs, batch by batch; no random numbers are drawn from the run's streams."""
    begin = 0
    devices = {one.device for one in model.parameters() if one.is_cuda}
    with torch.random.fork_rng(devices=devices), torch.inference_mode(), evaluated(model):
        for batch in data.batches(split):
            outputs = data.task.in_units(tree.call(model, batch.inputs))
            yield Predicted(
                split=split,
                size=batch.size,
                outputs=_on_cpu(outputs),
                targets=_on_cpu(batch.targets),
                sample_ids=None if batch.sample_ids is None else batch.sample_ids.cpu(),
                input_of=_Inputs(data, split, begin),
            )
            begin += batch.size


class _Inputs:
    """The inputs of a batch by position."""

    def __init__(self, data: Any, split: str, begin: int) -> None:
        self._data, self._split, self._begin = data, split, begin

    def __call__(self, index: int) -> Any:
        return self._data.input_as_given(self._split, self._begin + index)


def _on_cpu(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values.cpu()
    if isinstance(values, Mapping):
        return {key: _on_cpu(one) for key, one in values.items()}
    if isinstance(values, (list, tuple)):
        return tree.like(values, [_on_cpu(one) for one in values])
    return values


class _harmless(AbstractContextManager["_harmless"]):  # noqa: N801 - used as a function
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


def plotter(run: Any) -> Callable[[Sequence[Any] | None], list[Chart]]:
    """The run value `plotter`: draws the present run for the hook ``plots``.

    It is called with built plots, or with None for all that fit; plots that cannot be drawn are warnings.
    """
    of = weakref.ref(run)

    def drawn(chosen: Sequence[Any] | None = None) -> list[Chart]:
        own = of()
        assert own is not None
        values, strategy = own.values, own.values["strategy"]
        task = values.get("run.task")
        entries = [] if chosen else fitting(own.registry, task.name if task else None)
        data, model = values.get("run.served"), strategy.bare(values["model"])
        if strategy.world_size > 1:  # each process has only its share of a split
            data = None
            if any(_traits(entry).needs == "predictions" for entry in entries):
                _LOG.info("plots of predictions are not drawn by several processes: wf plot %s", values["run_dir"])
        found = draw(own.builder, entries, (), data, model, finished=chosen or ())
        for problem in (*found.missing, *found.broken):
            _LOG.warning("not drawn: %s", problem)
        return found.charts

    return drawn


def draw_run(place: str | Path, names: Sequence[str] = (), **opening: Any) -> Drawn:
    """The charts of a run directory.

    Plots of recorded figures need nothing else; for plots of predictions the weights are loaded and the data read.

    Args:
        place: The run directory.
        names: The plots; empty for all that fit the run's task.
        opening: As for `wf_run.api.reopen`.

    Raises:
        UsageError: For a plot that does not exist, or that is for other tasks.
    """
    directory, document, folders, registry = opened(place, **opening)
    description, task = read_description(directory.path), None
    values: dict[str, Any] = {"run_dir": directory.path, "directions": directory.directions, "seed": document["seed"]}
    if description is not None:
        task = description.task_in(registry)
        values |= description.spec.values()
    entries = fitting(registry, task.name if task else None, names)
    of_records = [entry for entry in entries if _traits(entry).needs == "records"]
    drawn = draw(Builder(registry, values, folders, dict(document)), of_records, document.get("plot", []))
    rest = [registry.full_name(entry) for entry in entries if entry not in of_records]
    if not rest:
        return drawn
    try:
        with reopen(place, KEPT, **opening) as experiment:
            more = experiment.draw_plots(rest)
    except FAILURES as error:
        why = str(error) if isinstance(error, WfError) else describe(error)
        drawn.missing.append(f"{', '.join(rest)}: {why}")
        return drawn
    charts = [*drawn.charts, *more.charts]
    return Drawn(charts=charts, missing=[*drawn.missing, *more.missing], broken=[*drawn.broken, *more.broken])


def write(charts: Sequence[Chart], run_dir: Path, format: str) -> list[Path]:
    """Write charts into ``plots/`` of a run directory.

    Raises:
        UsageError: For an unknown format.
        SaveError: If a file cannot be written.
    """
    from wf_charts.pictures import FORMATS, save

    if format not in FORMATS:
        raise UsageError(f"plots: format is '{format}'; choose from {', '.join(FORMATS)}")
    return [save(chart, run_dir / "plots", format) for chart in charts]


def _is_for(entry: Entry, task: str | None) -> bool:
    tasks = _traits(entry).tasks
    return not tasks or task in tasks


def _traits(entry: Entry) -> PlotTraits:
    traits = entry.component.traits
    return traits if isinstance(traits, PlotTraits) else PlotTraits()
