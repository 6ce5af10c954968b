"""Draws a run: passes its plots their data, and collects their charts."""

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
from wf.errors import WfError
from wf_base import tree
from wf_base.predicted import Predicted
from wf_base.training.modes import evaluated
from wf_building.builder import Builder
from wf_charts import Chart
from wf_run.api import reopen
from wf_run.description import read_description
from wf_run.directory.kept import KEPT
from wf_run.opening import opened
from wf_run.parts.device import choose_device
from wf_run.views.choosing import KIND, Drawn, Harmless, charts_of, fitting, title_of, traits_of

_LOG = logging.getLogger("wf")


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
        title = title_of(entry)
        with Harmless(title, drawn):
            table = options.get(entry.component.name, {"use": builder.registry.full_name(entry)})
            made = builder.build(KIND, table).value
            plots.append(_Plot(title, traits_of(entry).order, made, traits_of(entry).needs))
    for made in finished:
        needs = "predictions" if hasattr(made, "update") else "records"
        plots.append(_Plot(f"plot '{type(made).__name__}'", 0, made, needs))
    if data is None or model is None:
        plots = [plot for plot in plots if plot.needs == "records"]
    else:
        plots = _fed(plots, data, model, around, drawn)
    for plot in plots:
        with Harmless(plot.title, drawn):
            drawn.charts += charts_of(plot.value)
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
                    with Harmless(plot.title, drawn) as safe:
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
            if any(traits_of(entry).needs == "predictions" for entry in entries):
                _LOG.info("plots of predictions are not drawn by several processes: wf plot %s", values["run_dir"])
        found = draw(own.builder, entries, (), data, model, finished=chosen or ())
        for problem in (*found.missing, *found.broken):
            _LOG.warning("not drawn: %s", problem)
        return found.charts

    return drawn


def draw_run(
    place: str | Path, names: Sequence[str] = (), device: str | None = None, *, light: bool = False, **opening: Any
) -> Drawn:
    """The charts of a run directory.

    Plots of recorded figures need nothing else; for plots of predictions the weights are loaded and the data read.

    Args:
        place: The run directory.
        names: The plots; empty for all that fit the run's task.
        device: As for `wf_run.api.load_model`.
        light: Whether to leave out plots that need the weights and the data.
        opening: As for `wf_run.api.reopen`.

    Raises:
        UsageError: For a plot that does not exist, or that is for other tasks, or a device that is not there.
    """
    if device is not None:
        choose_device(device)  # raises before anything is drawn
    directory, document, folders, registry = opened(place, **opening)
    description, task = read_description(directory.path), None
    values: dict[str, Any] = {"run_dir": directory.path, "directions": directory.directions, "seed": document["seed"]}
    if description is not None:
        task = description.task_in(registry)
        values |= description.spec.values()
    entries = fitting(registry, task.name if task else None, names)
    of_records = [entry for entry in entries if traits_of(entry).needs == "records"]
    drawn = draw(Builder(registry, values, folders, dict(document)), of_records, document.get("plot", []))
    rest = [registry.full_name(entry) for entry in entries if entry not in of_records]
    if light or not rest:
        return drawn
    try:
        changes: dict[str, Any] = {} if device is None else {"device": device}
        with reopen(place, KEPT, **opening, **changes) as experiment:
            more = experiment.draw_plots(rest)
    except FAILURES as error:
        why = str(error) if isinstance(error, WfError) else describe(error)
        drawn.missing.append(f"{', '.join(rest)}: {why}")
        return drawn
    charts = [*drawn.charts, *more.charts]
    return Drawn(charts=charts, missing=[*drawn.missing, *more.missing], broken=[*drawn.broken, *more.broken])
