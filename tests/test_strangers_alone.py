"""Two third-party packages train, evaluate, resume and predict without any built-in package of components.

`wf-training` stays: its trainer, evaluator and strategy execute a run.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from environment import Environment
from runs import manifest, records
from workspace import FOLDERS, LIBRARIES, build_wheels, run_pip

KEPT = (*LIBRARIES, "wf-cli", "wf-run", "wf-durability", "wf-training")
"""What is no component of a model or of its data."""

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "wf-elsewhere"
version = "0.1.0"
dependencies = ["wf-base", "wf-core"]

[project.entry-points."wf.plugins"]
main = "wf_elsewhere.plugin"

[tool.hatch.build.targets.wheel]
packages = ["src/wf_elsewhere"]
"""
PLUGIN = """
from wf import Component, Task, hookimpl
from wf.traits import DatasetTraits, HookTraits, LossTraits, MetricTraits, ModelTraits, OptimizerTraits

PARTS = "wf_elsewhere.parts"


@hookimpl
def wf_tasks():
    defaults = {"loss": "gap", "metric": ("miss",)}
    summary = "a height a sample"
    return [Task(name="guessing", target=f"{PARTS}:Guessing", summary=summary, targets=("height",), defaults=defaults)]


@hookimpl
def wf_components():
    loss = LossTraits(predictions="raw", targets=("height",))
    metric = MetricTraits(targets=("height",), larger_is_better=False)
    return [
        Component("dataset", "heights", f"{PARTS}:heights", traits=DatasetTraits(targets="height"), default=True),
        Component("model", "slope", f"{PARTS}:Slope", traits=ModelTraits(inputs="vector"), default=True),
        Component("loss", "gap", f"{PARTS}:gap", traits=loss),
        Component("metric", "miss", f"{PARTS}:Miss", traits=metric),
        Component("optimizer", "descent", f"{PARTS}:descent", traits=OptimizerTraits(), default=True),
        Component("hook", "bell", f"{PARTS}:Bell", traits=HookTraits(watches=True), default=True),
    ]
"""
PARTS = '''
import sys

import torch
from torch import nn
from wf import Hook
from wf_base import Dataset, Metric, TaskRuntime, TensorSamples


class Guessing(TaskRuntime):
    """Heights."""


def heights(num: int = 60) -> Dataset:
    """Heights of made-up people by their shoe size and age.

    Args:
        num: How many people.
    """
    inputs = torch.randn(num, 2, generator=torch.Generator().manual_seed(0))
    return Dataset(train=TensorSamples(inputs, inputs.sum(1, keepdim=True)), targets="height")


class Slope(nn.Module):
    """A plane."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_features, 1)

    def forward(self, inputs):
        return self.layer(inputs)


def gap(predictions, targets):
    """Half the squared distance."""
    return (predictions - targets).square().mean() / 2


class Miss(Metric):
    """The largest error."""

    def update(self, predictions, targets):
        self.append("errors", (predictions - targets).abs().flatten())

    def compute(self):
        return self.values("errors").max()


def descent(params, lr: float = 0.05):
    """Steps down the gradient.

    Args:
        lr: The length of a step.
    """
    return torch.optim.SGD(params, lr=lr, momentum=0.9)


class Bell(Hook):
    """Rings when a run has ended."""

    def on_run_end(self, run):
        print("ding", file=sys.stderr)
'''


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.timeout(300)
def test_two_third_party_packages_work_without_builtin_components(wheels: dict[str, Path], tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "src/wf_elsewhere").mkdir(parents=True)
    (package / "pyproject.toml").write_text(PROJECT)
    for name, text in (("__init__", ""), ("plugin", PLUGIN), ("parts", PARTS)):
        (package / f"src/wf_elsewhere/{name}.py").write_text(text)
    elsewhere = build_wheels([str(package)], tmp_path / "own")["wf-elsewhere"]
    assert set(KEPT) < set(FOLDERS)
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in KEPT), wheels["wf-example-detection"], elsewhere)
    plugins = environment.plugins()
    assert {name for name in plugins if plugins[name]["status"] == "ok"} == {
        *({*KEPT} - {*LIBRARIES}),
        "wf-example-detection",
        "wf-elsewhere",
    }

    _defaults_come_from_the_packages(environment)
    _trains_and_resumes(environment, "heights", ())
    drawings = ("--dataset", "drawings", "--dataset.num_train", "32", "--dataset.num_held_out", "8")
    _trains_and_resumes(environment, "drawings", (*drawings, "--optimizer.lr", "0.001", "--batch-size", "8"))
    _a_missing_optimizer_is_explained(environment, drawings)


def _defaults_come_from_the_packages(environment: Environment) -> None:
    """A run without named components uses the defaults of their packages."""
    text = environment.wf("run", "--help")
    for default in ("[heights]", "[slope, or the task's]", "[descent]", "bell]", "[supervised]"):
        assert default in " ".join(text.split()), default
    file = environment.wf("run", "--print-config")
    for name in ("heights", "slope", "gap", "descent", "miss", "bell", "divergence-guard"):
        assert f'use = "{name}"' in file, name


def _trains_and_resumes(environment: Environment, name: str, options: tuple[str, ...]) -> None:
    """Train, evaluate, predict, resume, and after a kill resume to the same bits."""
    work = environment.folder / "work"
    ran = json.loads(environment.wf("run", *options, "--epochs", "2", "--name", name, "--json"))
    assert ran["status"] == "done"
    first = records(work / "runs" / name, "eval", "validation")[0]
    assert {"loss", "miss"} < first.keys() if name == "heights" else "shape-map" in first
    evaluated = json.loads(environment.wf("evaluate", name, "--json"))["metrics"]
    assert evaluated == {key: value for key, value in ran["metrics"].items() if key.startswith("test/")}
    environment.wf("resume", name, "--epochs", "3", "--quiet")
    assert manifest(work / "runs" / name)["epochs"] == 3
    predicted = json.loads(environment.wf("predict", name, "test", "--json"))
    assert len(predicted) == manifest(work / "runs" / name)["samples"]["test"]
    proof = (*options, "--epochs", "2", "--checkpoint-every", "1steps", "--kill-at", "2", "--name", f"{name}-proof")
    assert "resumed from step" in environment.wf("prove-resume", *proof)


def _a_missing_optimizer_is_explained(environment: Environment, drawings: tuple[str, ...]) -> None:
    """Without its package an optimizer is missing, and one message gives a remedy."""
    run_pip("uninstall", "-y", "-q", "wf-elsewhere", python=environment.python)
    refused = environment.wf("run", *drawings, code=2)
    assert refused.startswith("wf: no optimizer is installed\n  name one: --optimizer path.py:NAME\n  or install ")
    assert "wf-optimizers" in refused
    own = environment.folder / "work/own.py"
    own.write_text("import torch\n\ndef plain(params, lr: float = 0.01):\n    return torch.optim.SGD(params, lr=lr)\n")
    environment.wf("run", *drawings, "--optimizer", "own.py:plain", "--steps", "2", "--quiet")
    refused = environment.wf("run", code=2)
    assert "the run names no dataset, and no plugin here declares a default one" in refused
    assert "name one: --dataset NAME (available: drawings)" in refused
