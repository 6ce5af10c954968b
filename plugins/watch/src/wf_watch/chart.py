"""The curves of a run that trains, as rich shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from wf_charts import Lines, Series
from wf_charts.charts import is_wide
from wf_charts.terminal import as_text

Points = Sequence[tuple[float, float]]
_LARGEST = 1e300
"""The largest absolute value that is drawn; larger ones and values that are not finite are left out."""


def chart(title: str, curves: Mapping[str, Points], width: int, height: int) -> Text:
    """Curves with a title, axes and their names.

    Args:
        title: The figure on the y axis; a logarithmic one says so.
        curves: The points of each curve by its name; values that are not finite are left out.
        width: The columns that it takes.
        height: The lines that it takes, at least 4; where they are few, the names are left out.
    """
    finite = {name: [point for point in points if abs(point[1]) < _LARGEST] for name, points in curves.items()}
    series = [
        Series(name=name, x=[x for x, _ in points], y=[y for _, y in points], role=name)
        for name, points in finite.items()
        if points
    ]
    if not series:
        return Text.assemble((title, "bold"), "\n", ("nothing yet", "dim"))
    log = is_wide([y for one in series for y in one.y])
    lines = Lines(name=title, title=f"{title} (logarithmic)" if log else title, series=series, log_y=log)
    drawn = as_text(lines, width, max(height - 1, 5), colour=True).split("\n")
    return Text.from_ansi("\n".join(drawn[:height]))
