"""Plots as files."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wf import Epochs, Loop
from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.data import Splits
from wf_data.serving import RunData
from wf_tracking.figures import plot_history, plot_metrics, plot_predictions
from wf_tracking.history import MAX_POINTS, curves
from wf_tracking.plots import Plots, plot_model, plot_run, predict_split

SVG = "{http://www.w3.org/2000/svg}"
X = torch.arange(0, 1, 0.02).unsqueeze(1)
Y = 0.7 * X + 0.3


def line(features: int = 1) -> RunData:
    """The reference line, split 40 to 10, its inputs scaled for each batch after a draw that changes nothing."""
    inputs = X.repeat(1, features)
    samples: dict[str, Any] = {
        "train": TensorSamples(inputs[:40], Y[:40]),
        "test": TensorSamples(inputs[40:], Y[40:]),
    }
    dataset = Dataset(train=samples["train"], targets="real", feature_names=["time"] * features)
    splits = Splits(samples=samples, indices={"train": torch.arange(40), "test": torch.arange(10)})
    return RunData(dataset, splits, [(Scaled(), False)], batch_size=16)


class Scaled:
    """Ten times the inputs."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs * 10


class Strategy(SimpleNamespace):
    """One process."""

    rank = 0

    def bare(self, model: nn.Module) -> nn.Module:
        return model


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
    hook = Plots(folder, line(), nn.Linear(1, 1), Strategy(), format)
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


def test_a_run_gives_its_three_plots(tmp_path: Path) -> None:
    files = run_with_plots(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        *["plots/loss.svg", "plots/metrics.svg", "plots/predictions.svg"]
    ]


def test_the_plot_of_the_loss(tmp_path: Path) -> None:
    path = run_with_plots(tmp_path)[0]
    assert {"Loss", "loss", "epochs", "train", "train (running)", "validation", "test at the end"} <= texts(path)
    drawn = groups(path)
    assert num_points(drawn["train"]) == 3
    assert num_points(drawn["validation"]) == 3  # the evaluation at the end is at the same update as the last one
    assert num_points(drawn["test-at-the-end"]) == 1
    assert num_points(drawn["train-(running)"]) == 9


def test_the_plot_of_the_metrics_leaves_out_figures_of_classes(tmp_path: Path) -> None:
    path = run_with_plots(tmp_path)[1]
    assert "accuracy" in texts(path)
    assert "recall" not in texts(path)


def test_the_plot_of_the_predictions(tmp_path: Path) -> None:
    path = run_with_plots(tmp_path)[2]
    assert {"Data and predictions", "time", "target", "train data", "test data", "predictions"} <= texts(path)
    drawn = groups(path)
    assert (num_points(drawn["train-data"]), num_points(drawn["test-data"])) == (40, 10)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        contents.append([file.read_bytes() for file in run_with_plots(tmp_path / name)])
    assert contents[0] == contents[1]


def test_png(tmp_path: Path) -> None:
    for file in run_with_plots(tmp_path, format="png"):
        assert file.suffix == ".png"
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("folder", "rank"), [(False, 0), (True, 1)])
def test_nothing_without_a_run_directory_or_by_another_process(folder: bool, rank: int, tmp_path: Path) -> None:
    hook = Plots(tmp_path if folder else None, line(), nn.Linear(1, 1), Strategy(rank=rank))
    Loop(Trainer(), hooks=[hook]).run([(torch.zeros(1), torch.zeros(1))], Epochs(1))
    assert (hook.files, list(tmp_path.iterdir())) == ([], [])


def test_predictions_are_over_the_inputs_as_the_model_gets_them() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    inputs, targets, outputs = predict_split(line(), model, "test")
    assert torch.equal(inputs, 10 * X[40:].flatten())
    assert torch.equal(targets, Y[40:].flatten())
    torch.testing.assert_close(outputs, 2 * inputs)


def test_the_model_comes_back_as_it_was_and_no_random_number_is_used() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.BatchNorm1d(1).eval()
            self.used: list[tuple[bool, bool]] = []

        def forward(self, inputs: Tensor) -> Tensor:
            self.used.append((self.training, torch.is_inference_mode_enabled()))
            return self.frozen(inputs) + torch.randn(1)  # type: ignore[no-any-return]  # a module's call is untyped

    model, before = Noisy(), torch.get_rng_state()
    predict_split(line(), model, "train")
    assert set(model.used) == {(False, True)}
    assert (model.training, model.frozen.training) == (True, False)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_data_has_no_plot_of_predictions(tmp_path: Path) -> None:
    assert plot_model(tmp_path, line(features=2), nn.Linear(2, 1)) == []
    data = line()
    data.spec = replace(data.spec, num_classes=3)
    assert plot_model(tmp_path, data, nn.Linear(1, 1)) == []


def places(line: Any) -> list[float]:
    return list(line.get_xdata())


def record(event: str, step: int, split: str = "train", **figures: Any) -> dict[str, Any]:
    return {"event": event, "split": split, "epoch": step - 1, "step": step, **figures}


def test_the_axis_is_logarithmic_beyond_two_decades() -> None:
    def scale(last: float) -> str:
        losses = [record("train", 1, epoch_loss=1.0), record("train", 2, epoch_loss=last)]
        return str(plot_history(losses).axes[0].get_yscale())

    assert [scale(0.02), scale(0.005), scale(-1.0)] == ["linear", "log", "linear"]


def test_a_figure_that_is_not_finite_is_a_gap() -> None:
    losses = [record("train", step, epoch_loss=value) for step, value in ((1, 2.0), (2, None), (3, 1.0))]
    values = curves(losses).epoch_loss.values
    assert (values[0], values[2]) == (2.0, 1.0)
    assert math.isnan(values[1])
    assert plot_history(losses).axes[0].get_yscale() == "linear"


def test_a_run_without_a_whole_epoch_is_drawn_over_updates() -> None:
    axes = plot_history([record("train", step, running_loss=1 / step) for step in (1, 100, 200)]).axes[0]
    assert axes.get_xlabel() == "updates"
    assert places(axes.lines[0]) == [1, 100, 200]


def test_the_learning_rate_has_a_panel_only_when_it_changes() -> None:
    assert plot_metrics([record("train", step, lr=0.1) for step in (1, 2)]) is None
    figure = plot_metrics([record("train", step, lr=0.1 / step) for step in (1, 2)])
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lr"]


def test_many_points_are_thinned_out_and_the_legend_says_so() -> None:
    points = [float(number) for number in range(2500)]
    axes = plot_predictions({"train": (points, points)}, (points[::-1], points[::-1])).axes[0]
    assert len(places(axes.lines[0])) == 834
    assert axes.lines[0].get_label() == "train data (1 in 3)"
    assert places(axes.lines[1]) == points


def test_data_alone() -> None:
    assert len(plot_predictions({"train": ([0.0], [1.0])}).axes[0].lines) == 1


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        plot_run(tmp_path)


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose from svg, png"):
        Plots(tmp_path, line(), nn.Linear(1, 1), Strategy(), "pdf")  # type: ignore[arg-type]  # the point


def test_the_example_of_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert len(names["figure"].axes) == len(names["data"].axes) == 1


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


def test_a_curve_below_the_limit_is_whole() -> None:
    records = [
        {"event": "eval", "split": "test", "epoch": 0, "step": step, "loss": step % 7} for step in range(1, 5000)
    ]
    (curve,) = curves(records).evaluated["loss"]
    assert curve.steps == list(range(1, 5000))
