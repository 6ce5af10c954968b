"""Plots of a run: its curves, and the hook that draws all plots when the run has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from wf import FromRun, Hook, Loop
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_charts import Chart, Lines, Panels, Series
from wf_charts.charts import is_wide
from wf_tracking.drawing.history import Curve, History, curves, read_records

Format = Literal["svg", "png"]
FORMATS: tuple[str, ...] = ("svg", "png")


class Plots(Hook):
    """Draws the run when it has ended, under ``<run directory>/plots``; without a run directory nothing is written.

    All plots are drawn that fit the run's task, see ``wf list plots``, or those that the run names: ``--plot NAME``.
    The same run gives the same bytes.

    Args:
        run_dir: The run directory, or None.
        plotter: Draws the run.
        strategy: Only the first process plots.
        format: The file format.
        plots: The plots that the run names; None for all that fit.

    Raises:
        UsageError: For an unknown format.
    """

    def __init__(
        self,
        run_dir: Path | None,
        plotter: Callable[[list[Any] | None], list[Any]],
        strategy: Strategy,
        format: Format = "svg",
        plots: Annotated[list[Any] | None, FromRun("plots")] = None,
    ) -> None:
        if format not in FORMATS:
            raise UsageError(f"plots: format is '{format}'; choose from {', '.join(FORMATS)}")
        self.run_dir, self.plotter, self.strategy, self.format, self.plots = run_dir, plotter, strategy, format, plots
        self.files: list[Path] = []

    def on_run_end(self, run: Loop) -> None:
        """Draw the run."""
        if self.run_dir is None or self.strategy.rank != 0:
            return
        from wf_charts.pictures import save

        self.files = [save(chart, self.run_dir / "plots", self.format) for chart in self.plotter(self.plots)]


class Curves:
    """Loss, metrics, learning rate and all other recorded figures over the run, from its ``metrics.jsonl``.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def charts(self) -> list[Chart]:
        """The loss, and panels of the other figures.

        Raises:
            DataError: If the run directory has no records.
        """
        history = curves(read_records(self._run_dir))
        charts: list[Chart] = [loss_chart(history)] if _has_loss(history) else []
        panels = metric_charts(history)
        return [*charts, Panels(name="metrics", title="Metrics", panels=panels)] if panels else charts


def loss_chart(records: History | Iterable[dict[str, Any]]) -> Lines:
    """The loss of every split over the run's epochs.

    Args:
        records: From ``metrics.jsonl``, or their curves.
    """
    history = records if isinstance(records, History) else curves(records)
    running, epochs = history.running_loss, history.epoch_loss
    series = []
    if len(epochs.steps) < 2 and len(running.steps) >= 2:
        series = [_series(running, history, "train (running)")]
    else:
        if len(running.steps) > len(epochs.steps):
            series = [_series(running, history, "train (running)", "thin")]
        series += [_series(epochs, history)] if epochs.steps else []
    for curve in history.evaluated.get("loss", ()):
        if curve.split != "train":
            series.append(_series(curve, history))
        elif len(curve.steps) > 1:
            series.append(_series(curve, history, "train (evaluated)", "dashed"))
    return _lines("loss", "Loss", "loss", series, history)


def metric_charts(records: History | Iterable[dict[str, Any]]) -> list[Lines]:
    """One chart a metric, and one for each logged figure that changes, such as the learning rate."""
    history = records if isinstance(records, History) else curves(records)
    found = {
        name: [_series(curve, history) for curve in splits]
        for name, splits in history.evaluated.items()
        if name != "loss"
    }
    for name, curve in history.logged.items():
        if len(set(curve.values)) > 1:
            found[name] = [_series(curve, history, name)]
    return [_lines(name, name.replace("_", " "), "", series, history) for name, series in found.items()]


def _has_loss(history: History) -> bool:
    return bool(history.running_loss.steps or history.epoch_loss.steps or history.evaluated.get("loss"))


def _series(curve: Curve, history: History, name: str = "", mark: Any = "line") -> Series:
    name = name or (f"{curve.split} at the end" if len(curve.steps) == 1 else curve.split)
    places = [step / (history.steps_per_epoch or 1) for step in curve.steps]
    return Series(name=name, x=places, y=curve.values, mark=mark, role=curve.split)


def _lines(name: str, title: str, y_label: str, series: list[Series], history: History) -> Lines:
    per_epoch = history.steps_per_epoch
    return Lines(
        name=name,
        title=title,
        series=series,
        x_label="updates" if per_epoch is None else "epochs",
        y_label=y_label,
        x_range=(0, history.num_steps / (per_epoch or 1) or 1),
        log_y=is_wide([value for one in series if one.mark != "thin" for value in one.y]),
    )
