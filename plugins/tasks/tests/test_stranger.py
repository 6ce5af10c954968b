"""A third-party task, link, loss and dataset that use public names only and that no file of wf mentions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STARS = '''
import torch
from wf import Component, Link, Task, hookimpl
from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_base.task import at
from wf.traits import DatasetTraits, LossTraits, MetricTraits
from wf_tasks.regression import Regression


class Rating(Regression):
    """Stars from 0 to 5."""

    def check_values(self, targets, ids, where):
        super().check_values(targets, ids, where)
        wrong = (targets < 0) | (targets > 5)
        if bool(wrong.any()):
            raise DataError(f"{where}: stars are from 0 to 5{at(wrong, targets, ids)}")

    def example_targets(self, num, generator):
        return 5 * torch.rand(num, 1, generator=generator)

    def read(self, predictions, form):
        return predictions.sigmoid() * 5 if form == "stars" else predictions

    def names(self, predictions, class_names):
        return ["*" * round(float(one)) or "-" for one in self.read(predictions, "stars").flatten()]


def visits(most: float = 5.0) -> Dataset:
    """Visits and their stars."""
    inputs = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    return Dataset(train=TensorSamples(inputs, most * inputs[:, :1]), targets="stars")


def star_error(predictions, targets):
    return (predictions - targets / 5).square().mean()


def shares(predictions):
    return predictions.sigmoid()


class StarError:
    """Mean distance in stars."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.total, self.num = 0.0, 0

    def update(self, predictions, targets):
        self.total += float((predictions - targets).abs().sum())
        self.num += len(targets)

    def compute(self):
        return {"": self.total / self.num, "in-all": self.total}


@hookimpl
def wf_components():
    loss = LossTraits(predictions="shares", targets=("stars",))
    metric = MetricTraits(predictions="stars", targets=("stars",), larger_is_better=False)
    return [
        Component("dataset", "visits", visits, "visits", traits=DatasetTraits(targets="stars", inputs="vector")),
        Component("loss", "star-error", star_error, "squared error of shares", traits=loss),
        Component("metric", "star-distance", StarError, "mean distance", traits=metric),
    ]


@hookimpl
def wf_tasks():
    defaults = {"loss": "star-error", "metric": ("star-distance",), "model": "linear"}
    defaults["monitor"] = "validation/star-distance"
    return [Task(name="rating", summary="stars", target=Rating, targets=("stars",), per="sample", defaults=defaults)]


@hookimpl
def wf_links():
    return [Link(name="as-shares", takes=("raw",), gives="shares", target=shares, summary="scores become shares")]
'''


def test_a_third_party_task_trains_evaluates_and_predicts(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "stars.py").write_text(STARS)
    options = ("-p", "stars.py", "--dataset", "visits", "--name", "x")
    done = wf("run", *options, "--epochs", 60, "--lr", 0.1, "--keep", "best")
    assert done.code == 0, done.stderr
    assert "model linear, loss star-error" in done.stderr
    assert "link as-shares: scores become shares (for star-error; --links [] turns it off)" in done.stderr
    metrics = json.loads((tmp_path / "runs/x/manifest.json").read_text())["metrics"]
    assert metrics["test/star-distance"] < 0.3
    assert metrics["test/star-distance-in-all"] > metrics["test/star-distance"]
    assert "best by validation/star-distance" in done.stdout
    assert wf("run", *options[:-2], "--metric", "no:star-distance", "--dry-run", "--quiet").code == 0, (
        "the removed metric decides nothing"
    )
    by_loss = wf("run", *options[:-2], "--dry-run", "--keep", "best", "--monitor", "validation/loss")
    assert by_loss.code == 0, by_loss.stderr
    assert json.loads((tmp_path / "runs/x/data.json").read_text())["task"] == "rating"
    (tmp_path / "in.csv").write_text("1,1\n0,0\n")
    shown = wf("predict", "runs/x", "test", "--json", "-p", "stars.py")
    assert shown.code == 0, shown.stderr
    assert "***" in shown.stdout
    again = wf("evaluate", "runs/x", "--json", "-p", "stars.py")
    assert again.json()["metrics"]["test/star-distance"] == metrics["test/star-distance"]


def test_a_third_party_task_is_listed_checked_and_removed(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "stars.py").write_text(STARS)
    assert "rating" in wf("list", "tasks", "-p", "stars.py").stdout
    names = {one["name"] for one in wf("list", "losses", "--fits", "rating", "--json", "-p", "stars.py").json()}
    assert "star-error" in names
    assert "ce" not in names
    refused = wf("run", "-p", "stars.py", "--dataset", "visits", "--dataset.most", 7)
    assert refused.code == 4
    assert "stars are from 0 to 5\n  the first one: sample" in refused.stderr
    refused = wf("run", "-p", "stars.py", "--dataset", "visits", "--loss", "ce")
    assert refused.code == 2
    assert "the loss takes class_index or mask or one_hot targets, the dataset has stars" in refused.stderr
    refused = wf("run", "-p", "stars.py", "--dataset", "visits", "--task", "classification")
    assert "classification has class_index or one_hot targets, the dataset has stars" in refused.stderr
    checked = wf("check", "task", "rating", "-p", "stars.py")
    assert checked.code == 0, checked.stdout
    assert "task-trains" not in checked.stdout
    assert "rating" not in wf("list", "tasks").stdout


def test_targets_without_a_task_are_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "stars.py").write_text(STARS.replace("@hookimpl\ndef wf_tasks", "def nothing"))
    refused = wf("run", "-p", "stars.py", "--dataset", "visits")
    assert refused.code == 2
    assert "dataset 'visits': unknown targets 'stars'" in refused.stderr
    assert "available: " in refused.stderr


POINTS = """
import torch
from wf import Component, Task, hookimpl
from wf.errors import DataError
from wf_base import Dataset, TaskRuntime, TensorSamples
from wf.traits import DatasetTraits, LossTraits


class Points(TaskRuntime):
    def check(self, inputs, targets, ids, where):
        if bool((targets["weight"] < 0).any()):
            raise DataError(f"{where}: a weight is below 0")

    def num_outputs(self, spec):
        return 1

    def names(self, predictions, class_names):
        return [{"x": float(one)} for one in predictions.flatten()]


def points(weight: float = 1.0) -> Dataset:
    inputs = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    targets = {"x": inputs.sum(1, keepdim=True), "weight": torch.full((60, 1), weight)}
    return Dataset(train=TensorSamples(inputs, targets), task="points")


def weighted_error(predictions, targets):
    return (targets["weight"] * (predictions - targets["x"]).square()).mean()


@hookimpl
def wf_components():
    traits = LossTraits(predictions="raw", targets=())
    return [
        Component("dataset", "points", points, "points", traits=DatasetTraits(task="points", inputs="vector")),
        Component("loss", "weighted-error", weighted_error, "weighted squared error", traits=traits),
    ]


@hookimpl
def wf_tasks():
    defaults = {"loss": "weighted-error", "model": "linear"}
    return [Task(name="points", target=Points, summary="points", per="sample", defaults=defaults)]
"""


def test_a_task_whose_targets_are_a_dict(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "points.py").write_text(POINTS)
    done = wf("run", "-p", "points.py", "--dataset", "points", "--epochs", 40, "--lr", 0.1, "--name", "x")
    assert done.code == 0, done.stderr
    assert "warning" not in done.stderr
    assert json.loads((tmp_path / "runs/x/manifest.json").read_text())["metrics"]["test/loss"] < 0.05
    shown = wf("predict", "runs/x", "test", "--json", "-p", "points.py")
    assert shown.code == 0, shown.stderr
    assert '"x": ' in shown.stdout
    refused = wf("run", "-p", "points.py", "--dataset", "points", "--dataset.weight", -1)
    assert refused.code == 4
    assert "train split: a weight is below 0" in refused.stderr
