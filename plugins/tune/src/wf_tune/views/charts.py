"""The charts of a search: history, importance of the settings, and a slice for each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wf_charts import Chart, Interval, Intervals, Lines, Panels, Series
from wf_tune.space import Dimension, Space
from wf_tune.trials import Trial


def history(trials: Sequence[Trial], by: str, *, larger_is_better: bool) -> Chart | None:
    """The figure of each trial, and the best so far."""
    ended = [one for one in trials if one.value is not None and one.state in ("complete", "pruned")]
    done = [one for one in ended if one.state == "complete"]
    if not done:
        return None
    choose = max if larger_is_better else min
    best: list[float] = []
    for one in done:
        assert one.value is not None
        best.append(choose([one.value, *best[-1:]]))
    pruned = [one for one in ended if one.state == "pruned"]
    series = [
        _points("trial", done),
        *([_points("pruned", pruned)] if pruned else []),
        Series(name="best so far", x=[one.number for one in done], y=best),
    ]
    return Lines(name="search-history", title=f"{by} by trial", series=series, x_label="trial", y_label=by)


def importance(importances: Mapping[str, float]) -> Chart | None:
    """The share of the figure's variance that each setting explains."""
    if len(importances) < 2:
        return None
    rows = [Interval(name=key, mean=value) for key, value in importances.items()]
    about = "Share of the variance between trials (fANOVA over the settings that all trials have)."
    title = "Importance of the settings"
    return Intervals(name="search-importance", title=title, rows=rows, x_label="share", reference=0.0, about=about)


def slices(trials: Sequence[Trial], space: Space, by: str) -> list[Chart]:
    """The figure over each setting: points for ranges, the span of the figures for choices."""
    done = [one for one in trials if one.value is not None and one.state == "complete"]
    panels = [_panel(one, done, by) for one in space.dimensions if not one.choices]
    shown = [panel for panel in panels if panel is not None]
    charts: list[Chart] = []
    if shown:
        charts.append(Panels(name="search-slices", title=f"{by} by setting", panels=shown))
    spans = [_spans(one, done, by) for one in space.dimensions if one.choices]
    return [*charts, *(chart for chart in spans if chart is not None)]


def _points(name: str, trials: Sequence[Trial]) -> Series:
    y = [one.value if one.value is not None else math.nan for one in trials]
    return Series(name=name, x=[one.number for one in trials], y=y, mark="points")


def _panel(dimension: Dimension, trials: Sequence[Trial], by: str) -> Lines | None:
    found = [(float(one.point[dimension.key]), one.value) for one in trials if dimension.key in one.point]
    if not found:
        return None
    x = [math.log10(value) if dimension.log else value for value, _ in found]
    label = f"log10 of {dimension.key}" if dimension.log else dimension.key
    series = Series(name=by, x=x, y=[value for _, value in found if value is not None], mark="points")
    return Lines(name=f"search-slice-{dimension.key}", title=dimension.key, series=[series], x_label=label, y_label=by)


def _spans(dimension: Dimension, trials: Sequence[Trial], by: str) -> Intervals | None:
    rows = []
    for choice in dimension.choices:
        found = [one.value for one in trials if one.point.get(dimension.key) == choice and one.value is not None]
        if found:
            mean = sum(found) / len(found)
            rows.append(Interval(name=choice, mean=mean, low=min(found), high=max(found), note=f"{len(found)} trials"))
    if not rows:
        return None
    about = "Mean, lowest and highest figure of the trials with each value."
    name = f"search-slice-{dimension.key}"
    return Intervals(name=name, title=f"{by} by {dimension.key}", rows=rows, x_label=by, about=about)
