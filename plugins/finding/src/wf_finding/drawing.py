"""The curve of the tried values, for the terminal and for ``--output``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wf.errors import UsageError
from wf_charts import Lines, Series
from wf_storage.files import write_atomically

_HEIGHT = 14


def curve(
    title: str,
    xs: Sequence[float],
    curves: Sequence[tuple[str, Sequence[float]]],
    mark: float | None,
    *,
    log: bool = False,
) -> Lines:
    """Curves over a logarithmic axis, with a dotted line at the suggested value.

    Args:
        title: ``loss over the learning rate``; the words around "over the" are the labels of the axes.
        xs: Larger than 0, ascending.
        curves: Names and values, at the first of `xs`; the first curve determines the suggestion.
        mark: The suggested value; None without a suggestion.
        log: Whether the vertical axis is logarithmic, too; then all values are larger than 0.
    """
    y_label, _, x_label = title.partition(" over the ")
    first = curves[0][1]
    series = [
        Series(
            name=name, x=xs[: len(values)], y=values, mark="thin" if number else "line", role="" if number else "train"
        )
        for number, (name, values) in enumerate(curves)
    ]
    if mark is not None:
        series.append(
            Series(name=f"suggested: {mark:.2g}", x=[mark, mark], y=[min(first), max(first)], mark="reference")
        )
    return Lines(name="curve", title=title, series=series, x_label=x_label, y_label=y_label, log_x=True, log_y=log)


def as_text(
    title: str, xs: Sequence[float], ys: Sequence[float], mark: float | None, width: int, *, log: bool = False
) -> str:
    """One curve as lines of text; what rises far above the first value is cut."""
    from wf_charts.terminal import as_text

    low, first = min(ys), ys[0]
    high = first + max(first - low, abs(first) / 4)
    chart = curve(title, xs, [(title.partition(" over the ")[0], [min(y, high) for y in ys])], mark, log=log)
    return as_text(chart, width, _HEIGHT)


def check_path(path: Path) -> None:
    """Refuse a file that cannot be drawn, before anything is tried.

    Raises:
        UsageError: For another ending, or a missing folder.
    """
    from wf_charts.pictures import FORMATS

    endings = [f".{one}" for one in FORMATS]
    if path.suffix not in endings:
        raise UsageError(f"--output {path}: the file must end with {' or '.join(sorted(endings))}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")


def draw(path: Path, chart: Lines) -> None:
    """Draw a chart into a file.

    Raises:
        SaveError: If the file cannot be written.
    """
    from wf_charts.pictures import as_bytes

    write_atomically(path, as_bytes(chart, path.suffix.removeprefix(".")))
