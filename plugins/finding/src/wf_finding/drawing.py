"""Curves as text, and as PNG or SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from wf.errors import SaveError, UsageError

FORMATS = (".png", ".svg")
_HEIGHT = 10


def as_text(xs: Sequence[float], ys: Sequence[float], mark: float, width: int, *, log: bool = False) -> str:
    """A curve over a logarithmic axis in lines of text, with the marked place below it.

    Args:
        xs: Larger than 0, ascending.
        ys: One for each.
        mark: The place that is marked, of `xs`.
        width: Columns.
        log: Whether the vertical axis is logarithmic, too; then `ys` are larger than 0.
    """
    num_columns = max(width - 12, 20)
    start, end = math.log(xs[0]), math.log(xs[-1])
    span = (end - start) or 1.0

    def column(x: float) -> int:
        return round((math.log(x) - start) / span * (num_columns - 1))

    low, first = min(ys), ys[0]
    high = min(max(ys), first + max(first - low, abs(first) / 4))  # what rises far above the first is cut

    def height(y: float) -> float:
        return math.log(y) if log else y

    drop = height(high) - height(low)
    rows = [[" "] * num_columns for _ in range(_HEIGHT)]
    for x, y in zip(xs, ys, strict=True):
        row = round((height(high) - height(min(y, high))) / (drop or 1.0) * (_HEIGHT - 1))
        rows[row][column(x)] = "*"
    labels = {0: f"{high:10.4g}", _HEIGHT - 1: f"{low:10.4g}"}
    lines = [f"{labels.get(number, ' ' * 10)} |{''.join(row).rstrip()}" for number, row in enumerate(rows)]
    axis = f"{xs[0]:.2g}"
    lines.append(f"{' ' * 10} +{'-' * column(mark)}^{'-' * (num_columns - 1 - column(mark))}")
    lines.append(f"{' ' * 12}{axis}{f'{xs[-1]:.2g}':>{num_columns - len(axis)}}")
    return "\n".join(lines)


def check_path(path: Path) -> None:
    """Refuse a file that cannot be drawn, before anything is tried.

    Raises:
        UsageError: For another ending, or a missing folder.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--output {path}: the file ends with {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")


def draw(
    path: Path, xs: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]], mark: float, labels: tuple[str, str]
) -> None:
    """Draw curves over a logarithmic axis, with a line at the marked place.

    Raises:
        SaveError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(curves):
        axes.plot(xs[: len(values)], values, label=name, color="#0072B2", alpha=0.4 if number else 1.0)
    axes.axvline(mark, color="#D55E00", ls="--", label=f"suggested: {mark:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(visible=True, color="#D9D9D9")
    axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror}") from error
