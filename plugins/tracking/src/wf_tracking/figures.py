"""Figures: curves over a run, and predictions over data. Drawn by matplotlib without a display or global state."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from wf.errors import SaveError
from wf_storage import files
from wf_storage.files import write_atomically
from wf_tracking.history import Curve, History, curves

COLOURS = {"train": "#0072B2", "validation": "#D55E00", "test": "#009E73", "predictions": "#111111"}
"""Colour-blind safe palette of Okabe and Ito (2008)."""
_MARKERS = {"train": "o", "validation": "s", "test": "D"}
_SIZES = {"train": 6, "validation": 9, "test": 11}
"""Markers of single points, hollow because they often overlap."""
_OTHER = "#CC79A7"
_GRID = "#D9D9D9"
_LOG_DECADES = 2
_MAX_POINTS = 1000
_MAX_MARKED = 25

_STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "wf",  # the same figure gives the same bytes
    "svg.fonttype": "none",  # keeps text searchable and accessible
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _styled(draw: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorator: draw in our style, whatever the user's settings."""

    @functools.wraps(draw)
    def styled(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def plot_history(records: History | Iterable[dict[str, Any]], title: str = "Loss") -> Figure:
    """The loss of every split over the run's epochs, on a logarithmic axis if it spans more than two decades.

    Args:
        records: From ``metrics.jsonl``, or their curves.
        title: The title.
    """
    history = records if isinstance(records, History) else curves(records)
    figure = _figure(1, 1)
    axes = figure.subplots()
    drawn = _draw_train_loss(axes, history)
    for curve in history.evaluated.get("loss", ()):
        if curve.split != "train" or len(curve.steps) > 1:
            drawn += _draw(axes, curve, history.steps_per_epoch, evaluated=curve.split == "train")
    _finish(axes, title, "loss", history, drawn)
    return figure


@_styled
def plot_metrics(records: History | Iterable[dict[str, Any]]) -> Figure | None:
    """One panel per metric, and one for the learning rate if it changes; None if there is nothing to show."""
    history = records if isinstance(records, History) else curves(records)
    panels = {name: found for name, found in history.evaluated.items() if name != "loss"}
    panels |= {name: [curve] for name, curve in history.logged.items() if len(set(curve.values)) > 1}
    if not panels:
        return None
    num_columns = min(len(panels), 2)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = _figure(num_rows, num_columns)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes, (name, found) in zip(grid, panels.items(), strict=False):
        options: dict[str, Any] = {"label": "_of_training", "marker": ""} if name in history.logged else {}
        drawn = [value for curve in found for value in _draw(axes, curve, history.steps_per_epoch, **options)]
        _finish(axes, name.replace("_", " "), "", history, drawn)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


@_styled
def plot_predictions(
    data: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    predictions: tuple[Sequence[float], Sequence[float]] | None = None,
    x_label: str = "input",
    y_label: str = "target",
    title: str = "Data and predictions",
) -> Figure:
    """The points of each split, and the model's predictions.

    Args:
        data: Inputs and targets by split.
        predictions: Inputs and the model's outputs for them; None draws only the data.
        x_label: Label of the inputs.
        y_label: Label of the targets.
        title: The title.
    """
    figure = _figure(1, 1)
    axes = figure.subplots()
    for split, (inputs, targets) in data.items():
        thin = math.ceil(len(inputs) / _MAX_POINTS)
        label = f"{split} data" if thin <= 1 else f"{split} data (1 in {thin})"
        size = 5 if len(inputs) <= _MAX_MARKED * 8 else 3.5
        style: dict[str, Any] = {"ls": "", "marker": _MARKERS.get(split, "v"), "ms": size, "mew": 0, "alpha": 0.7}
        colour = COLOURS.get(split, _OTHER)
        axes.plot(inputs[::thin], targets[::thin], color=colour, label=label, gid=f"{split}-data", **style)
    if predictions is not None:
        inputs, outputs = zip(*sorted(zip(*predictions, strict=True)), strict=True)
        axes.plot(inputs, outputs, "-", color=COLOURS["predictions"], lw=2, label="predictions", gid="predictions")
    _decorate(axes, title, x_label, y_label)
    return figure


@_styled
def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix; the same figure gives the same bytes.

    Raises:
        SaveError: If it cannot be written.
    """
    metadata: dict[str, Any] = {"Creator": "wf", "Date": None} if path.suffix == ".svg" else {"Software": "wf"}
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], metadata=metadata, dpi=150)
    try:
        files.make_own_folder(path.parent)
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror}") from error
    write_atomically(path, picture.getvalue())
    return path


def _figure(num_rows: int, num_columns: int) -> Figure:
    width = 7.2 if num_columns == 1 else 5.2 * num_columns
    height = 4.4 if num_rows == num_columns == 1 else 3.4 * num_rows
    return Figure(figsize=(width, height), layout="constrained")


def _draw_train_loss(axes: Axes, history: History) -> list[float]:
    """The running loss thinly behind the epoch losses; alone if there are no epoch losses."""
    running, epochs = history.running_loss, history.epoch_loss
    if len(epochs.steps) < 2 and len(running.steps) >= 2:
        return _draw(axes, running, history.steps_per_epoch, label="train (running)", marker="")
    if len(running.steps) > len(epochs.steps):
        _draw(axes, running, history.steps_per_epoch, label="train (running)", marker="", alpha=0.35, lw=1.0)
    return _draw(axes, epochs, history.steps_per_epoch)


def _draw(
    axes: Axes, curve: Curve, steps_per_epoch: float | None, *, evaluated: bool = False, **options: Any
) -> list[float]:
    """Draw a curve, or a hollow mark for a single point; returns its values."""
    places = [step / (steps_per_epoch or 1) for step in curve.steps]
    label = f"{curve.split} (evaluated)" if evaluated else curve.split
    style: dict[str, Any] = {"color": COLOURS.get(curve.split, _OTHER), "label": label, "zorder": 3}
    marker = _MARKERS.get(curve.split, "v")
    if len(places) == 1:
        size = _SIZES.get(curve.split, 9)
        style |= {"ls": "", "marker": marker, "ms": size, "mfc": "none", "mew": 2, "label": f"{label} at the end"}
    else:
        few = len(places) <= _MAX_MARKED
        style |= {"ls": "--" if evaluated else "-", "lw": 1.8, "marker": marker if few else "", "ms": 4.5}
    style |= options
    axes.plot(places, curve.values, gid=str(style["label"]).replace(" ", "-"), **style)
    return curve.values


def _finish(axes: Axes, title: str, y_label: str, history: History, values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 10**_LOG_DECADES:
        axes.set_yscale("log")
    per_epoch = history.steps_per_epoch
    axes.set_xlim(0, history.num_steps / (per_epoch or 1) * 1.03 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    _decorate(axes, title, "updates" if per_epoch is None else "epochs", y_label)


def _decorate(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
