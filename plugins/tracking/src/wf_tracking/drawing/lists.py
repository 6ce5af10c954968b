"""Figures with many numbers as charts, such as a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wf_charts import Chart, Lines, Series
from wf_charts.charts import Matrix


def list_chart(name: str, values: Sequence[Any], class_names: Sequence[str] | None = None) -> Chart:
    """A square of counts as a matrix, other numbers as lines over their places.

    Args:
        name: The figure, as ``test/confusion-matrix``.
        values: Numbers, None for one that is not finite; or lists of them.
        class_names: The names of rows and columns, used if there is one for each.
    """
    rows = [value for value in values if isinstance(value, list)]
    file = name.replace("/", "-")
    if rows and len(rows) == len(values) and all(len(row) == len(rows) for row in rows) and _are_counts(rows):
        named = class_names is not None and len(class_names) == len(rows)
        names = list(class_names or ()) if named else [str(number) for number in range(len(rows))]
        return Matrix(name=file, title=name, rows=names, columns=names, counts=rows)
    lines = rows if rows and len(rows) == len(values) else [list(values)]
    series = [
        Series(name=str(number), x=range(len(line)), y=[_number(value) for value in line])
        for number, line in enumerate(lines)
    ]
    return Lines(name=file, title=name, series=series)


def _are_counts(rows: Sequence[Sequence[Any]]) -> bool:
    return all(isinstance(value, int) for row in rows for value in row)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
