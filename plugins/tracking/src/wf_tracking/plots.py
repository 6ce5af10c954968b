"""Plots of a run, as files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from wf import Hook, Loop
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base.data import ServedData, Spec
from wf_base.task import TaskRuntime
from wf_tracking.history import curves, read_records

Format = Literal["svg", "png"]
FORMATS: tuple[str, ...] = ("svg", "png")


class Plots(Hook):
    """Plots the run when it has ended, under ``<run directory>/plots``; without a run directory nothing is written.

    ``loss``: the loss of every split over the epochs. ``metrics``: one panel per metric. ``predictions``: data and
    predictions, if the task says that they form a line, as in a regression of one number on one number. The same run
    gives the same bytes.

    Args:
        run_dir: The run directory, or None.
        data: The run's data; None if unavailable, then predictions are not plotted.
        model: The model.
        strategy: Only the first process plots.
        format: The file format.

    Raises:
        UsageError: For an unknown format.
    """

    def __init__(
        self,
        run_dir: Path | None,
        data: ServedData | None,
        model: nn.Module,
        strategy: Strategy,
        format: Format = "svg",
    ) -> None:
        if format not in FORMATS:
            raise UsageError(f"plots: format is '{format}'; choose from {', '.join(FORMATS)}")
        self.run_dir, self.data, self.model, self.strategy, self.format = run_dir, data, model, strategy, format
        self.files: list[Path] = []

    @staticmethod
    def needs_data(spec: Spec, task: TaskRuntime) -> bool:
        """Whether there are predictions to plot, which need the data."""
        return task.is_line(spec)

    def on_run_end(self, run: Loop) -> None:
        """Plot the run."""
        self.files = self.draw()

    def draw(self) -> list[Path]:
        """Plot the current records and model; returns the files."""
        if self.run_dir is None or self.strategy.rank != 0:
            return []
        curves = plot_run(self.run_dir, self.format)
        if self.data is None:
            return curves
        return [*curves, *plot_model(self.run_dir, self.data, self.strategy.bare(self.model), self.format)]


def plot_run(run_dir: Path, format: Format = "svg") -> list[Path]:
    """Plot loss and metrics of a run from its ``metrics.jsonl`` into ``plots/``.

    Returns:
        The files written.

    Raises:
        DataError: If the run directory has no records.
    """
    from wf_tracking.figures import plot_history, plot_metrics, save

    history = curves(read_records(run_dir))
    figures = {"loss": plot_history(history), "metrics": plot_metrics(history)}
    return [
        save(figure, run_dir / "plots" / f"{name}.{format}") for name, figure in figures.items() if figure is not None
    ]


def plot_model(run_dir: Path, data: ServedData, model: nn.Module, format: Format = "svg") -> list[Path]:
    """Plot data and predictions into ``plots/``, if the task says that they form a line.

    Returns:
        The file written; empty for other data.
    """
    from wf_tracking.figures import plot_predictions, save

    if not data.task.is_line(data.spec):
        return []
    found = {split: predict_split(data, model, split) for split in data.splits}
    inputs, outputs = (torch.cat([columns[index] for columns in found.values()]).tolist() for index in (0, 2))
    points = {split: (columns[0].tolist(), columns[1].tolist()) for split, columns in found.items()}
    x_label = data.spec.feature_names[0] if data.spec.feature_names else "input"
    figure = plot_predictions(points, (inputs, outputs), x_label)
    return [save(figure, run_dir / "plots" / f"predictions.{format}")]


def predict_split(data: ServedData, model: nn.Module, split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and predictions of a split of one-dimensional data; with several processes, this one's share.

    Returns:
        Three float tensors ``[N]`` on the CPU; the inputs are those the model gets.
    """
    columns: list[list[Tensor]] = [[], [], []]
    with _as_evaluated(model):
        for batch in data.batches(split):
            outputs = data.task.in_units(model(batch.inputs))
            for column, values in zip(columns, (batch.inputs, batch.targets, outputs), strict=True):
                column.append(values.flatten().cpu())
    inputs, targets, outputs = (torch.cat(column) for column in columns)
    return inputs, targets, outputs


@contextmanager
def _as_evaluated(model: nn.Module) -> Iterator[None]:
    """Eval and inference mode; every module's mode and the random generators are restored."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers()) if tensor.is_cuda}
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
