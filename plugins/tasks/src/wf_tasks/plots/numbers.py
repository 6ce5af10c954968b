"""How numbers are predicted: residuals, predictions against targets, and a line through the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wf_base.predicted import Predicted
from wf_base.task import TaskRuntime
from wf_charts import Chart, Lines, Panels, Series

MAX_COLUMNS = 6
"""Maximum number of targets that are drawn."""


class Residuals:
    """Target minus prediction over the prediction, for each target of the test split.

    Args:
        outputs: The task.
        target_names: One a column; numbers where there are none.
    """

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime, target_names: Sequence[str] = ()) -> None:
        self._names = tuple(target_names)
        self._found: list[Tensor] = []
        self._wanted: list[Tensor] = []

    def update(self, seen: Predicted) -> None:
        """Keep a batch."""
        self._found.append(seen.outputs.float().reshape(seen.size, -1))
        self._wanted.append(seen.targets.float().reshape(seen.size, -1))

    def charts(self) -> list[Chart]:
        """A chart a target."""
        found, wanted = torch.cat(self._found), torch.cat(self._wanted)
        rest = wanted - found
        num = found.shape[1]
        names = self._names if len(self._names) == num else tuple(f"target {number + 1}" for number in range(num))
        charts = []
        for column in range(min(num, MAX_COLUMNS)):
            mine = rest[:, column]
            ends = [float(found[:, column].min()), float(found[:, column].max())]
            of = "" if num == 1 and not self._names else f" of {names[column]}"
            charts.append(
                Lines(
                    name="residuals",
                    title=f"Residuals{of} on the test split",
                    series=[
                        Series(name="test", x=found[:, column].tolist(), y=mine.tolist(), mark="points", role="test"),
                        Series(name="no error", x=ends, y=[0.0, 0.0], mark="reference"),
                    ],
                    x_label="prediction",
                    y_label="target - prediction",
                    about=f"Mean {float(mine.mean()):.4g}, standard deviation {float(mine.std(correction=0)):.4g}. A "
                    "pattern is something that the model has not learned.",
                )
            )
        if num == 1:
            return list(charts)
        return [Panels(name="residuals", title="Residuals on the test split", panels=charts)]


class Line:
    """Data and predictions of one number over one number; for other runs there is nothing to draw.

    Args:
        outputs: The task.
        data: The data of the run.
    """

    splits = ("train", "validation", "test")

    def __init__(self, outputs: TaskRuntime, data: object) -> None:
        spec = getattr(data, "spec", None)
        self._is_line = spec is not None and outputs.is_line(spec)
        names = getattr(spec, "feature_names", ())
        self._label = str(names[0]) if names else "input"
        self._points: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def update(self, seen: Predicted) -> None:
        """Keep a batch."""
        if not self._is_line:
            return
        inputs = torch.stack([torch.as_tensor(seen.input_of(place)).float().flatten() for place in range(seen.size)])
        columns = (inputs.flatten(), seen.targets.float().flatten(), seen.outputs.float().flatten())
        self._points.setdefault(seen.split, []).append(columns)

    def charts(self) -> list[Chart]:
        """The points of each split, and the predictions as a line."""
        if not self._points:
            return []
        series, lines = [], []
        for split, parts in self._points.items():
            inputs, targets, outputs = (torch.cat(columns) for columns in zip(*parts, strict=True))
            series.append(
                Series(name=f"{split} data", x=inputs.tolist(), y=targets.tolist(), mark="points", role=split)
            )
            lines.append(torch.stack([inputs, outputs]))
        line = torch.cat(lines, 1)
        x, y = line[:, line[0].argsort(stable=True)].tolist()
        return [
            Lines(
                name="predictions",
                title="Data and predictions",
                series=[*series, Series(name="predictions", x=x, y=y, role="predictions")],
                x_label=self._label,
                y_label="target",
            )
        ]
