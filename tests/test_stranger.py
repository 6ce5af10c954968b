"""A third-party package works like the built-in ones: installed, listed, trained with, and uninstalled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from environment import Environment
from workspace import EXAMPLE, FOLDERS, PLUGINS, ROOT, run_pip

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("wheels"), pytest.mark.timeout(300)]

R1 = [
    "--dataset",
    "points",
    "--model",
    "linear-regression",
    "--model.weight",
    "1",
    "--model.bias",
    "0",
    "--loss",
    "mse",
]
WHOLE = ["--split", "100/0/0", "--batch-size", "full", "--no-shuffle", "--epochs", "10"]


def test_a_third_party_package_is_installed_used_and_removed(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in FOLDERS))
    assert set(environment.plugins()) == set(PLUGINS)

    environment.install(wheels["wf-example"])
    seen = environment.plugins()["wf-example"]
    assert (seen["distribution"], seen["version"], seen["status"]) == ("wf-example", "0.1.0", "ok")
    names = {(component["kind"], component["name"]) for component in seen["components"]}
    assert names == {("loss", "log-cosh"), ("trainer", "hand-gradient"), ("dataset", "points")}
    assert "scale" in environment.wf("show", "loss", "log-cosh")

    check_hand_gradient(environment)
    check_log_cosh(environment)
    environment.pytest(shutil.copytree(ROOT / EXAMPLE / "tests", environment.folder / "tests"))

    run_pip("uninstall", "-y", "-q", "wf-example", python=environment.python)
    assert "wf-example" not in environment.plugins()
    assert "log-cosh" in environment.wf("run", "--dataset", "diabetes", "--loss", "log-cosh", code=2)


def check_hand_gradient(environment: Environment) -> None:
    """The second row of R1, with the package's dataset and trainer."""
    report = environment.wf("run", *R1, *WHOLE, "--trainer", "hand-gradient", "--trainer.lr", "1e-4", "--json")
    run_dir = environment.folder / "work" / json.loads(report)["run_dir"]
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = {record["epoch"]: record["loss"] for record in records if record["event"] == "train"}
    assert [losses[0], losses[1], losses[9]] == pytest.approx([1763.884644, 1667.137939, 1110.275269], rel=1e-6)


def check_log_cosh(environment: Environment) -> None:
    options = ["--dataset", "diabetes", "--loss", "log-cosh", "--loss.scale", "0.5", "--epochs", "2"]
    report = json.loads(environment.wf("run", *options, "--json"))
    assert report["status"] == "done"
    assert 'use = "log-cosh"' in (environment.folder / "work" / report["run_dir"] / "run.toml").read_text()
