"""The tasks of this package in runs and commands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import wf as api
from wf.errors import UsageError
from wf.registry import Registry
from wf_base.task import task_of
from wf_fitting.tasks import tasks_of
from wf_tasks.plugin import wf_links, wf_tasks

FORMS = {
    "real": "regression",
    "class_index": "classification",
    "one_hot": "classification",
    "binary": "binary",
    "multilabel": "multilabel",
    "mask": "segmentation",
    "boxes": "detection",
}


@pytest.mark.parametrize(("targets", "task"), FORMS.items())
def test_the_task_follows_from_the_targets(targets: str, task: str) -> None:
    found = tasks_of(Registry.discover(only_builtin=True)).of(targets)
    assert found is not None
    assert found.name == task


def test_every_declaration_can_be_loaded() -> None:
    registry = Registry.discover(only_builtin=True)
    assert all(callable(registry.find("task", task.name).load()) for task in wf_tasks())
    assert all(callable(registry.find("link", link.name).load()) for link in wf_links() if link.target)


def test_a_dataset_that_does_not_fit_its_task_is_refused(wf: Any) -> None:
    result = wf("run", "--task", "regression", "--dry-run")
    assert result.code == 2
    assert result.stderr.splitlines()[:2] == [
        "wf: dataset 'digits' does not fit task 'regression'",
        "  regression has real targets, the dataset has class_index",
    ]


def test_an_unknown_task_is_refused(wf: Any) -> None:
    result = wf("run", "--task", "ranking")
    assert result.code == 2
    assert "unknown task 'ranking'" in result.stderr
    assert "classification" in result.stderr
    with pytest.raises(UsageError, match="unknown task 'ranking'"):
        api.build(task="ranking", save=False)


def test_the_task_is_written_only_if_it_was_given(wf: Any, tmp_path: Any) -> None:
    (tmp_path / "run.toml").write_text('task = "classification"\nepochs = 1\n[dataset]\nuse = "iris"\n')
    shown = wf("run", "run.toml", "--print-config").stdout
    assert 'task = "classification"' in shown
    assert "task" not in wf("run", "--dataset", "iris", "--print-config").stdout


def test_listing_and_showing(wf: Any) -> None:
    listed = wf("list", "tasks", "--json").json()
    assert {one["name"] for one in listed if one["plugin"] == "wf-tasks"} == {task.name for task in wf_tasks()}
    shown = wf("show", "task", "segmentation", "--json").json()
    assert shown["traits"] == {
        "targets": ["mask"],
        "predictions": [],
        "gives": None,
        "reads": ["raw", "labels", "probs"],
        "per": "pixel",
        "spatial": True,
        "defaults": {"loss": "ce", "metric": ["accuracy", "mean-iou"], "model": "unet"},
    }
    assert "targets   mask" in wf("show", "task", "segmentation").stdout
    assert not any(one["kind"] in ("task", "link") for one in wf("list", "--json").json())


@pytest.mark.parametrize("word", ["task/multilabel", "multilabel"])
def test_fits_lists_components_for_a_task(wf: Any, word: str) -> None:
    names = {one["name"] for one in wf("list", "losses", "--fits", word, "--json").json()}
    assert {"bce-logits", "mse"} <= names
    assert "ce" not in names
    metrics = {one["name"] for one in wf("list", "metrics", "--fits", word, "--json").json()}
    assert "f1" in metrics
    assert "r2" not in metrics
    tasks = {one["name"] for one in wf("list", "tasks", "--fits", "loss/mse", "--json").json()}
    assert {"regression", "multilabel", "classification", "binary"} <= tasks
    assert "segmentation" not in tasks


def test_fits_accepts_a_form_of_targets(wf: Any) -> None:
    assert "unet" in wf("list", "models", "--fits", "mask").stdout


@pytest.mark.parametrize(
    ("targets", "classes", "columns", "wanted"),
    [
        ("real", None, 3, 3),
        ("binary", 2, 1, 1),
        ("class_index", 5, 1, 5),
        ("one_hot", 5, 1, 5),
        ("multilabel", None, 4, 4),
    ],
)
def test_num_outputs_follow_from_the_targets(targets: str, classes: int | None, columns: int, wanted: int) -> None:
    spec = SimpleNamespace(num_classes=classes, num_targets=columns)
    assert task_of(targets).fitted(targets, "raw", None).num_outputs(spec) == wanted
