"""The curves of a run, and the hook that draws it."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wf import Epochs, Loop
from wf.errors import DataError, UsageError
from wf_tracking.drawing.history import MAX_POINTS, curves
from wf_tracking.drawing.plots import Curves, Plots, loss_chart, metric_charts

SVG = "{http://www.w3.org/2000/svg}"


def plotter(folder: Path) -> Any:
    """The plotter of a run that draws only its curves."""
    return lambda plots: Curves(folder).charts()


class Strategy(SimpleNamespace):
    """One process."""

    rank = 0


class Trainer:
    """A loss that shrinks."""

    num = 0

    def train_step(self, batch: Any) -> float:
        self.num += 1
        return 1 / self.num


class Evaluator:
    """Figures of every kind."""

    num = 0

    def evaluate(self, split: str) -> Mapping[str, Any]:
        self.num += 1
        return {"loss": 2 / self.num, "accuracy": 1 - 1 / self.num, "recall": [0.1, 0.2]}


class Record:
    """Writes metrics.jsonl, as a run directory does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"

    def write(self, event: str, split: str, run: Loop, figures: Mapping[str, Any]) -> None:
        record = {"event": event, "split": split, "epoch": run.progress.epoch, "step": run.progress.step, **figures}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        self.write("train", "train", run, record)

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        self.write("eval", split, run, metrics)


def run_with_plots(folder: Path, epochs: int = 3, format: Any = "svg") -> list[Path]:
    torch.manual_seed(0)
    hook = Plots(folder, plotter(folder), Strategy(), format)
    loop = Loop(Trainer(), Evaluator(), hooks=[Record(folder), hook], final_splits=["validation", "test"], log_every=2)
    loop.run([(torch.zeros(1), torch.zeros(1))] * 4, Epochs(epochs))
    return hook.files


def groups(path: Path) -> dict[str, ElementTree.Element]:
    return {str(element.get("id")): element for element in ElementTree.parse(path).iter(f"{SVG}g")}


def texts(path: Path) -> set[str]:
    return {"".join(element.itertext()).strip() for element in ElementTree.parse(path).iter(f"{SVG}text")}


def num_points(group: ElementTree.Element) -> int:
    """The points of a curve, or the marks of one without a line."""
    marks = len(list(group.iter(f"{SVG}use")))
    return marks or max(len(re.findall("[ML]", str(path.get("d")))) for path in group.iter(f"{SVG}path"))


def test_a_run_writes_its_plots(tmp_path: Path) -> None:
    files = run_with_plots(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["plots/loss.svg", "plots/metrics.svg"]


def test_the_plot_of_the_loss(tmp_path: Path) -> None:
    path = run_with_plots(tmp_path)[0]
    assert {"Loss", "loss", "epochs", "train", "train (running)", "validation", "test at the end"} <= texts(path)
    drawn = groups(path)
    assert num_points(drawn["train"]) == 3
    assert num_points(drawn["validation"]) == 3  # the final evaluation is at the same update as the last one
    assert num_points(drawn["test-at-the-end"]) == 1
    assert num_points(drawn["train-(running)"]) == 9


def test_the_plot_of_the_metrics_leaves_out_figures_of_classes(tmp_path: Path) -> None:
    path = run_with_plots(tmp_path)[1]
    assert "accuracy" in texts(path)
    assert "recall" not in texts(path)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        contents.append([file.read_bytes() for file in run_with_plots(tmp_path / name)])
    assert contents[0] == contents[1]


def test_plots_as_png(tmp_path: Path) -> None:
    for file in run_with_plots(tmp_path, format="png"):
        assert file.suffix == ".png"
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("folder", "rank"), [(False, 0), (True, 1)])
def test_no_plots_without_a_run_directory_or_in_other_processes(folder: bool, rank: int, tmp_path: Path) -> None:
    hook = Plots(tmp_path if folder else None, plotter(tmp_path), Strategy(rank=rank))
    Loop(Trainer(), hooks=[hook]).run([(torch.zeros(1), torch.zeros(1))], Epochs(1))
    assert (hook.files, list(tmp_path.iterdir())) == ([], [])


def record(event: str, step: int, split: str = "train", **figures: Any) -> dict[str, Any]:
    return {"event": event, "split": split, "epoch": step - 1, "step": step, **figures}


def test_the_axis_is_logarithmic_beyond_two_decades() -> None:
    def is_log(last: float) -> bool:
        return loss_chart([record("train", 1, epoch_loss=1.0), record("train", 2, epoch_loss=last)]).log_y

    assert [is_log(0.02), is_log(0.005), is_log(-1.0)] == [False, True, False]


def test_a_figure_that_is_not_finite_is_a_gap() -> None:
    chart = loss_chart([record("train", step, epoch_loss=value) for step, value in ((1, 2.0), (2, None), (3, 1.0))])
    (values,) = [series.y for series in chart.series]
    assert (values[0], values[2]) == (2.0, 1.0)
    assert math.isnan(values[1])
    assert not chart.log_y


def test_a_run_without_a_whole_epoch_is_drawn_over_updates() -> None:
    chart = loss_chart([record("train", step, running_loss=1 / step) for step in (1, 100, 200)])
    assert chart.x_label == "updates"
    assert chart.series[0].x == [1, 100, 200]


def test_the_learning_rate_has_a_panel_only_when_it_changes() -> None:
    assert metric_charts([record("train", step, lr=0.1) for step in (1, 2)]) == []
    (chart,) = metric_charts([record("train", step, lr=0.1 / step) for step in (1, 2)])
    assert (chart.title, chart.series[0].y) == ("lr", [0.1, 0.05])


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        Curves(tmp_path).charts()


def test_a_run_that_recorded_nothing_has_no_charts(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert Curves(tmp_path).charts() == []


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose from svg, png"):
        Plots(tmp_path, plotter(tmp_path), Strategy(), "pdf")  # type: ignore[arg-type]  # the point


def test_a_long_curve_is_thinned_and_keeps_its_peaks() -> None:
    num, peak = 100_000, 70_001

    def records() -> Iterator[dict[str, Any]]:
        for step in range(1, num + 1):
            value = None if step == 50_000 else 9.0 if step == peak else 1.0
            yield {"event": "train", "split": "train", "epoch": 0, "step": step, "running_loss": value}

    curve = curves(records()).running_loss
    assert len(curve.steps) == len(curve.values) < MAX_POINTS
    assert curve.steps == sorted(set(curve.steps))
    assert (curve.values[curve.steps.index(peak)], max(curve.steps)) == (9.0, num)
    assert math.isnan(curve.values[curve.steps.index(50_000)])


def test_a_curve_below_the_limit_is_not_thinned() -> None:
    records = [
        {"event": "eval", "split": "test", "epoch": 0, "step": step, "loss": step % 7} for step in range(1, 5000)
    ]
    (curve,) = curves(records).evaluated["loss"]
    assert curve.steps == list(range(1, 5000))
